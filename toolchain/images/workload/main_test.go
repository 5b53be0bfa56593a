package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func get(t *testing.T, path string) (int, map[string]any) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	body := map[string]any{}
	if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil && path != "/healthz" {
		t.Fatalf("%s: %v: %s", path, err, recorder.Body)
	}
	return recorder.Code, body
}

func TestAnswersNameThePod(t *testing.T) {
	t.Setenv("POD_NAME", "web-1")
	t.Setenv("NODE_NAME", "node-a")
	status, body := get(t, "/")
	if status != http.StatusOK || body["pod"] != "web-1" || body["node"] != "node-a" {
		t.Fatalf("got %d %v", status, body)
	}
	if status, _ := get(t, "/healthz"); status != http.StatusOK {
		t.Fatalf("healthz: got %d", status)
	}
}

func TestPeerIsAskedAndNamed(t *testing.T) {
	t.Setenv("POD_NAME", "web-1")
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, answer{Pod: "web-2"})
	}))
	defer peer.Close()
	t.Setenv("PEER_URL", peer.URL)
	status, body := get(t, "/peer")
	via, _ := body["via"].(map[string]any)
	got, _ := body["peer"].(map[string]any)
	if status != http.StatusOK || via["pod"] != "web-1" || got["pod"] != "web-2" {
		t.Fatalf("got %d %v", status, body)
	}
}

func TestPeerThatFailsIsABadGateway(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	failing := httptest.NewServer(http.NotFoundHandler())
	defer failing.Close()
	for _, url := range []string{"", hanging.URL, failing.URL, "http://127.0.0.1:1"} {
		t.Setenv("PEER_URL", url)
		started := time.Now()
		status, body := get(t, "/peer")
		if status != http.StatusBadGateway || body["error"] == nil {
			t.Fatalf("%q: got %d %v", url, status, body)
		}
		if took := time.Since(started); took > peerTimeout+time.Second {
			t.Fatalf("%q: took %s", url, took)
		}
	}
}
