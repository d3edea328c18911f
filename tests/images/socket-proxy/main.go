// Stand-in for wollomatic/socket-proxy where no registry answers: the flags docker-compose.prod.yml passes, with the
// meaning they have there. Every expression is anchored and matched against the path alone; a method without one is 405,
// a path or a client that is not allowed is 403. Started as `healthcheck` it is the image's other program.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const health = "127.0.0.1:55555"

// allowed is what one method may ask for; the flag may be given several times.
type allowed struct{ paths []*regexp.Regexp }

func (a *allowed) String() string { return "" }

func (a *allowed) Set(text string) error {
	path, err := regexp.Compile("^" + text + "$")
	a.paths = append(a.paths, path)
	return err
}

func (a *allowed) match(path string) bool {
	for _, one := range a.paths {
		if one.MatchString(path) {
			return true
		}
	}
	return false
}

type proxy struct {
	methods map[string]*allowed
	from    []string
	docker  http.Handler
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := p.judge(r)
	if status == http.StatusOK {
		p.docker.ServeHTTP(w, r)
		return
	}
	log.Printf("blocked: %s %s of %s: %d", r.Method, r.URL.Path, r.RemoteAddr, status)
	http.Error(w, http.StatusText(status), status)
}

func (p *proxy) judge(r *http.Request) int {
	paths := p.methods[r.Method]
	switch {
	case !p.welcome(r.RemoteAddr):
		return http.StatusForbidden
	case paths == nil || len(paths.paths) == 0:
		return http.StatusMethodNotAllowed
	case !paths.match(r.URL.Path):
		return http.StatusForbidden
	}
	return http.StatusOK
}

// welcome looks names up each time: a container that was made anew has another address.
func (p *proxy) welcome(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	ip := net.ParseIP(host)
	if err != nil || ip == nil {
		return false
	}
	for _, one := range p.from {
		if _, network, err := net.ParseCIDR(one); err == nil {
			if network.Contains(ip) {
				return true
			}
			continue
		}
		addresses, _ := net.LookupIP(one)
		for _, address := range addresses {
			if address.Equal(ip) {
				return true
			}
		}
	}
	return false
}

func answers(socket string) error {
	connection, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err == nil {
		err = connection.Close()
	}
	return err
}

func watch(socket string, interval time.Duration, stop bool) {
	for range time.Tick(interval) {
		if err := answers(socket); err != nil {
			log.Printf("the socket is unavailable: %v", err)
			if stop {
				os.Exit(10)
			}
		}
	}
}

func serveHealth(socket string) {
	handle := func(w http.ResponseWriter, _ *http.Request) {
		if err := answers(socket); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	log.Fatal(http.ListenAndServe(health, http.HandlerFunc(handle)))
}

func checkHealth() {
	answer, err := http.Head("http://" + health + "/health")
	if err != nil || answer.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}

func main() {
	if filepath.Base(os.Args[0]) == "healthcheck" {
		checkHealth()
		return
	}
	p := &proxy{methods: map[string]*allowed{}}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		p.methods[method] = &allowed{}
		flag.Var(p.methods[method], "allow"+method, "paths allowed for "+method)
	}
	from := flag.String("allowfrom", "127.0.0.1/32", "clients")
	ip := flag.String("listenip", "127.0.0.1", "address")
	port := flag.String("proxyport", "2375", "port")
	socket := flag.String("socketpath", "/var/run/docker.sock", "Docker's socket")
	interval := flag.Int("watchdoginterval", 0, "seconds between two looks at the socket")
	stop := flag.Bool("stoponwatchdog", false, "end when the socket is away")
	withHealth := flag.Bool("allowhealthcheck", false, "serve the health check")
	flag.Parse()

	p.from = strings.Split(*from, ",")
	p.docker = &httputil.ReverseProxy{
		Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", "localhost" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", *socket)
		}},
		FlushInterval: -1, // events come one by one
	}
	if *withHealth {
		go serveHealth(*socket)
	}
	if *interval > 0 {
		go watch(*socket, time.Duration(*interval)*time.Second, *stop)
	}
	server := &http.Server{Addr: net.JoinHostPort(*ip, *port), Handler: p, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
