// workload is the server behind the proof's Service: it names the pod that answers, and can ask a peer by address or by
// name, which shows that pods reach each other and cluster DNS.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Set at link time.
var version = "0.0.0"

// answer says who answered; its values come from the pod's fields through the environment (downward API).
type answer struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Node      string `json:"node"`
	PodIP     string `json:"podIP"`
	HostIP    string `json:"hostIP"`
	Version   string `json:"version"`
}

type peerAnswer struct {
	Via   answer          `json:"via"`
	URL   string          `json:"url"`
	Peer  json.RawMessage `json:"peer,omitempty"`
	Error string          `json:"error,omitempty"`
}

const (
	port          = 8080
	peerTimeout   = 2 * time.Second
	peerLimit     = 64 << 10
	shutdownGrace = 10 * time.Second
)

func self() answer {
	return answer{
		Pod:       os.Getenv("POD_NAME"),
		Namespace: os.Getenv("POD_NAMESPACE"),
		Node:      os.Getenv("NODE_NAME"),
		PodIP:     os.Getenv("POD_IP"),
		HostIP:    os.Getenv("HOST_IP"),
		Version:   version,
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Printf("reply: %v", err)
	}
}

func askPeer(ctx context.Context, url string) (json.RawMessage, error) {
	if url == "" {
		return nil, errors.New("PEER_URL is not set; expected the address of a peer")
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("PEER_URL: %w", err)
	}
	// A connection of its own each time, so that the Service picks a pod anew.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, peerLimit))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("peer answered %s, expected 200 OK", response.Status)
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("peer answered %d bytes that are not JSON", len(body))
	}
	return body, nil
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /peer", func(w http.ResponseWriter, r *http.Request) {
		url := os.Getenv("PEER_URL")
		peer, err := askPeer(r.Context(), url)
		if err != nil {
			reply(w, http.StatusBadGateway, peerAnswer{Via: self(), URL: url, Error: err.Error()})
			return
		}
		reply(w, http.StatusOK, peerAnswer{Via: self(), URL: url, Peer: peer})
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, self())
	})
	return mux
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr:              fmt.Sprintf(":%d", port),
		Handler:           handler(),
		ReadHeaderTimeout: 5 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	log.Printf("workload %s listens on %s", version, server.Addr)
	select {
	case err := <-failed:
		log.Fatal(err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		log.Printf("shutdown: %v", err)
	}
}
