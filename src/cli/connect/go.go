// go get go.temporal.io/sdk; a worker process reads worker-token.jwt instead    §auth
// go get go.temporal.io/sdk    §open
package main

import (
	"context"
	"crypto/tls"    §tls
	"crypto/x509"    §tls
	"fmt"
	"log"
	"os"    §files

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

const certs = "⟨certs⟩"    §files
    §files
func main() {
	options := client.Options{HostPort: "⟨address⟩", Namespace: "⟨namespace⟩"}
	options.ConnectionOptions.TLSDisabled = true    §plain
	ca, err := os.ReadFile(certs + "/ca.crt")    §tls
	if err != nil {    §tls
		log.Fatal(err)    §tls
	}    §tls
	roots := x509.NewCertPool()    §tls
	roots.AppendCertsFromPEM(ca)    §tls
	options.ConnectionOptions.TLS = &tls.Config{    §tls
		ServerName: "⟨server_name⟩",    §tls
		RootCAs:    roots,    §tls
		// Read for each handshake: renewed certificates need no restart.    §tls
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {    §tls
			pair, err := tls.LoadX509KeyPair(certs+"/temporal-client.crt", certs+"/temporal-client.key")    §tls
			return &pair, err    §tls
		},    §tls
	}    §tls
	// Read for each call: so does a renewed token.    §auth
	options.Credentials = client.NewAPIKeyDynamicCredentials(func(context.Context) (string, error) {    §auth
		token, err := os.ReadFile(certs + "/client-token.jwt")    §auth
		return string(token), err    §auth
	})    §auth
	c, err := client.Dial(options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	request := &workflowservice.CountWorkflowExecutionsRequest{Namespace: "⟨namespace⟩"}
	counted, err := c.CountWorkflow(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected:", counted.GetCount(), "workflows in ⟨namespace⟩")
}
