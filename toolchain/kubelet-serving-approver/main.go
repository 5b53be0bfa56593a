// kubelet-serving-approver approves the certificates that kubelets ask for to serve with, which Kubernetes itself leaves to
// others: exactly those of declared hosts for their own name and address. All others stay as they are, for a person to judge.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	// A watch ends by itself after this; the next one starts with all there is.
	watchFor = 5 * time.Minute
	pause    = 2 * time.Second
)

// api is the API server, as this program's own user.
type api struct {
	server string
	client *http.Client
}

func connect(server, ca, cert, key string) (*api, error) {
	authority, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: holds no certificate", ca)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ResponseHeaderTimeout: 30 * time.Second,
	}
	return &api{server: server, client: &http.Client{Transport: transport}}, nil
}

// do sends a request and returns the answer's body, which the caller closes.
func (a *api) do(ctx context.Context, method, path, contentType string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()
	message, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(message)))
}

// watch hands over every request that there is, then each as it comes or changes, until the API server ends it.
func (a *api) watch(ctx context.Context, handle func(csr) error) error {
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	query := url.Values{
		"watch":          {"true"},
		"fieldSelector":  {"spec.signerName=" + signer},
		"timeoutSeconds": {fmt.Sprint(int(watchFor.Seconds()))},
	}
	body, err := a.do(ctx, http.MethodGet, requests+"?"+query.Encode(), "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	for events := json.NewDecoder(body); ; {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			var request csr
			if err := json.Unmarshal(event.Object, &request); err != nil {
				return err
			}
			if err := handle(request); err != nil {
				return err
			}
		case "ERROR":
			return fmt.Errorf("the watch ended: %s", event.Object)
		}
	}
}

// approve adds the condition that lets the controller manager sign; it fails if the request has changed since it was judged.
func (a *api) approve(ctx context.Context, request csr) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": request.Metadata.ResourceVersion},
		"status": map[string]any{"conditions": []map[string]string{{
			"type":    "Approved",
			"status":  "True",
			"reason":  "DeclaredHost",
			"message": "a declared host asks for its own name and address",
		}}},
	})
	if err != nil {
		return err
	}
	path := requests + "/" + url.PathEscape(request.Metadata.Name) + "/approval"
	body, err := a.do(ctx, http.MethodPatch, path, "application/merge-patch+json", patch)
	if err != nil {
		return err
	}
	return body.Close()
}

// declared is name → address of each declared host.
type declared map[string]net.IP

// add takes one more host as name=address.
func (hosts declared) add(arg string) error {
	name, address, _ := strings.Cut(arg, "=")
	ip := net.ParseIP(address)
	if name == "" || ip == nil || hosts[name] != nil {
		return fmt.Errorf("got %q, expected name=address, each name once", arg)
	}
	hosts[name] = ip
	return nil
}

// follow judges requests until the context ends. An API that is not there, or does not allow it yet, is asked again.
func follow(ctx context.Context, a *api, hosts declared) {
	told := ""
	for ctx.Err() == nil {
		err := a.watch(ctx, func(request csr) error {
			if decided(request) {
				return nil
			}
			if err := judge(request, hosts); err != nil {
				log.Printf("%s is left as it is: %v", request.Metadata.Name, err)
				return nil
			}
			// One that fails, by a webhook say, shall not keep the others waiting; the next watch shows it again.
			if err := a.approve(ctx, request); err != nil {
				log.Printf("%s could not be approved: %v", request.Metadata.Name, err)
				return nil
			}
			log.Printf("%s is approved: %s for its own name and address", request.Metadata.Name, request.Spec.Username)
			return nil
		})
		switch {
		case err == nil:
			told = ""
		case ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			log.Printf("asked again every %s: %v", pause, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func main() {
	log.SetFlags(0)
	server := flag.String("server", "", "URL of the API server")
	ca := flag.String("ca", "", "file of the authority that signs the API server's certificate")
	cert := flag.String("cert", "", "file of this program's client certificate")
	key := flag.String("key", "", "file of its key")
	hosts := declared{}
	flag.Func("host", "name=address of a declared host; once for each", hosts.add)
	flag.Parse()
	if len(hosts) == 0 || flag.NArg() > 0 {
		log.Fatalf("hosts: got %d and the arguments %q, expected --host=name=address for each and nothing else", len(hosts), flag.Args())
	}
	a, err := connect(*server, *ca, *cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	follow(ctx, a, hosts)
}
