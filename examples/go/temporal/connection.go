// Package temporal opens a Temporal client that keeps up with rotation: the warden renews files, and each is read where
// it is used.
package temporal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

var (
	address    = env("TEMPORAL_ADDRESS", "temporal:7233")
	namespace  = env("TEMPORAL_NAMESPACE", "default")
	serverName = env("TEMPORAL_TLS_SERVER_NAME", "temporal-server")
	certsDir   = env("TEMPORAL_CERTS_DIR", "/etc/temporal/certs")
)

// Dial opens an authenticated connection. It needs no renewal: every call carries the token, and every handshake uses
// the certificates, that are on disk at that moment.
func Dial(tokenFile string) (client.Client, error) {
	return client.Dial(client.Options{
		HostPort:  address,
		Namespace: namespace,
		Credentials: client.NewAPIKeyDynamicCredentials(func(context.Context) (string, error) {
			token, err := os.ReadFile(filepath.Join(certsDir, tokenFile))
			return strings.TrimSpace(string(token)), err
		}),
		ConnectionOptions: client.ConnectionOptions{
			DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(bundle{credentials.NewTLS(&tls.Config{ServerName: serverName})})},
		},
	})
}

// bundle is TLS with the material of the moment. A tls.Config alone would do for the certificate
// (GetClientCertificate), but its RootCAs are read once, and a CA that was replaced is retired one day.
type bundle struct {
	credentials.TransportCredentials
}

// ClientHandshake is called by gRPC for each new connection.
func (bundle) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := material()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

// Clone is called by gRPC when it copies its options.
func (b bundle) Clone() credentials.TransportCredentials { return b }

// material reads all files from one generation: `..data` is the link that the warden moves from one set to the next, so
// a key never meets the wrong certificate.
func material() (*tls.Config, error) {
	folder := certsDir
	if generation, err := filepath.EvalSymlinks(filepath.Join(certsDir, "..data")); err == nil {
		folder = generation
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "temporal-client.crt"), filepath.Join(folder, "temporal-client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: serverName}, nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
