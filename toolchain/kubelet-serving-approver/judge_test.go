package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

var hosts = declared{"node1": net.ParseIP("10.90.23.41"), "node2": net.ParseIP("10.90.23.42")}

// template is what node1's kubelet asks for.
func template() x509.CertificateRequest {
	return x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "system:node:node1", Organization: []string{"system:nodes"}},
		DNSNames:    []string{"node1"},
		IPAddresses: []net.IP{net.ParseIP("10.90.23.41")},
	}
}

func encode(t *testing.T, asked x509.CertificateRequest) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &asked, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func sound(t *testing.T, change func(*csr, *x509.CertificateRequest)) csr {
	t.Helper()
	asked := template()
	var request csr
	request.Metadata.Name = "csr-1"
	request.Metadata.ResourceVersion = "7"
	request.Spec.SignerName = signer
	request.Spec.Usages = []string{"server auth", "digital signature"}
	request.Spec.Username = "system:node:node1"
	request.Spec.Groups = []string{"system:nodes", "system:authenticated"}
	change(&request, &asked)
	if request.Spec.Request == nil {
		request.Spec.Request = encode(t, asked)
	}
	return request
}

func TestTakesWhatKubeletsAsk(t *testing.T) {
	for name, change := range map[string]func(*csr, *x509.CertificateRequest){
		"as it is": func(*csr, *x509.CertificateRequest) {},
		"for RSA keys": func(c *csr, _ *x509.CertificateRequest) {
			c.Spec.Usages = append(c.Spec.Usages, "key encipherment")
		},
	} {
		if err := judge(sound(t, change), hosts); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	other, _ := url.Parse("spiffe://node1")
	for expected, change := range map[string]func(*csr, *x509.CertificateRequest){
		"signer": func(c *csr, _ *x509.CertificateRequest) { c.Spec.SignerName = "kubernetes.io/kube-apiserver-client" },
		"requester: got \"kubernetes-admin\"": func(c *csr, _ *x509.CertificateRequest) {
			c.Spec.Username = "kubernetes-admin"
		},
		"requester: got \"system:node:node3\"": func(c *csr, a *x509.CertificateRequest) {
			c.Spec.Username, a.Subject.CommonName, a.DNSNames = "system:node:node3", "system:node:node3", []string{"node3"}
		},
		"groups": func(c *csr, _ *x509.CertificateRequest) { c.Spec.Groups = []string{"system:authenticated"} },
		"usages: got [\"client auth\"": func(c *csr, _ *x509.CertificateRequest) {
			c.Spec.Usages = append(c.Spec.Usages, "client auth")
		},
		"usages: got [\"server auth\"]": func(c *csr, _ *x509.CertificateRequest) { c.Spec.Usages = []string{"server auth"} },
		"request: expected one PEM": func(c *csr, a *x509.CertificateRequest) {
			c.Spec.Request = append(encode(t, *a), encode(t, *a)...)
		},
		"request: x509: ECDSA verification failure": func(c *csr, a *x509.CertificateRequest) {
			block, _ := pem.Decode(encode(t, *a))
			block.Bytes[len(block.Bytes)-1] ^= 1
			c.Spec.Request = pem.EncodeToMemory(block)
		},
		"subject: got CN=system:node:node2": func(_ *csr, a *x509.CertificateRequest) { a.Subject.CommonName = "system:node:node2" },
		"subject: got CN=system:node:node1,O=system:masters": func(_ *csr, a *x509.CertificateRequest) {
			a.Subject.Organization = []string{"system:masters"}
		},
		"subject: got CN=system:node:node1,OU=x": func(_ *csr, a *x509.CertificateRequest) {
			a.Subject.OrganizationalUnit = []string{"x"}
		},
		"DNS names: got [\"node2\"]":                func(_ *csr, a *x509.CertificateRequest) { a.DNSNames = []string{"node2"} },
		"DNS names: got []":                         func(_ *csr, a *x509.CertificateRequest) { a.DNSNames = nil },
		"DNS names: got [\"node1\" \"kubernetes\"]": func(_ *csr, a *x509.CertificateRequest) { a.DNSNames = []string{"node1", "kubernetes"} },
		"addresses: got [10.90.23.42]": func(_ *csr, a *x509.CertificateRequest) {
			a.IPAddresses = []net.IP{net.ParseIP("10.90.23.42")}
		},
		"addresses: got []": func(_ *csr, a *x509.CertificateRequest) { a.IPAddresses = nil },
		"addresses: got [10.90.23.41 10.96.0.1]": func(_ *csr, a *x509.CertificateRequest) {
			a.IPAddresses = append(a.IPAddresses, net.ParseIP("10.96.0.1"))
		},
		"names: got [a@b]":      func(_ *csr, a *x509.CertificateRequest) { a.EmailAddresses = []string{"a@b"} },
		"names: got [] [spiffe": func(_ *csr, a *x509.CertificateRequest) { a.URIs = []*url.URL{other} },
		"extensions: got 2.5.29.19": func(_ *csr, a *x509.CertificateRequest) {
			a.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}}
		},
	} {
		err := judge(sound(t, change), hosts)
		if err == nil || !strings.HasPrefix(err.Error(), expected) {
			t.Errorf("got %v, expected %s…", err, expected)
		}
	}
}

// An API server that knows one forged, one decided and one sound request, and first refuses to answer.
func TestFollowApprovesSoundRequestsAlone(t *testing.T) {
	forged := sound(t, func(c *csr, a *x509.CertificateRequest) { c.Metadata.Name, a.DNSNames = "forged", []string{"x"} })
	old := sound(t, func(c *csr, _ *x509.CertificateRequest) {
		c.Metadata.Name = "old"
		c.Status.Conditions = append(c.Status.Conditions, struct {
			Type string `json:"type"`
		}{"Denied"})
	})
	fresh := sound(t, func(*csr, *x509.CertificateRequest) {})
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	asked := 0
	var patched []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			body, _ := io.ReadAll(r.Body)
			patched = append(patched, r.URL.Path+" "+string(body))
			_, _ = io.WriteString(w, "{}")
			stop()
			return
		}
		if asked++; asked == 1 {
			http.Error(w, "not yet", http.StatusForbidden)
			return
		}
		if got := r.URL.Query().Get("fieldSelector"); got != "spec.signerName="+signer {
			t.Errorf("fieldSelector: got %s", got)
		}
		for _, request := range []csr{forged, old, fresh} {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": request})
		}
	}))
	defer server.Close()
	follow(ctx, &api{server: server.URL, client: server.Client()}, hosts)
	expected := requests + `/csr-1/approval {"metadata":{"resourceVersion":"7"},"status":{"conditions":[{` +
		`"message":"a declared host asks for its own name and address","reason":"DeclaredHost","status":"True","type":"Approved"}]}}`
	if len(patched) != 1 || patched[0] != expected {
		t.Errorf("got %q, expected %q alone", patched, expected)
	}
}

func TestDeclared(t *testing.T) {
	hosts := declared{}
	for _, arg := range []string{"node1=10.90.23.41", "node2=10.90.23.42"} {
		if err := hosts.add(arg); err != nil {
			t.Error(err)
		}
	}
	for _, arg := range []string{"", "node3", "=10.0.0.1", "node3=b", "node1=10.0.0.1"} {
		if err := hosts.add(arg); err == nil {
			t.Errorf("%q was not refused", arg)
		}
	}
	if len(hosts) != 2 {
		t.Errorf("got %v, expected two hosts", hosts)
	}
}
