package main

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

const signer = "kubernetes.io/kubelet-serving"

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// csr is what the judgement needs of a CertificateSigningRequest (certificates.k8s.io/v1).
type csr struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Request    []byte   `json:"request"`
		SignerName string   `json:"signerName"`
		Usages     []string `json:"usages"`
		Username   string   `json:"username"`
		Groups     []string `json:"groups"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type string `json:"type"`
		} `json:"conditions"`
	} `json:"status"`
}

// judge returns why a request is not to be approved, or nil. A kubelet gets a certificate for nothing but its own declared
// name and address. The API server vouches for user name and groups.
func judge(request csr, hosts declared) error {
	spec := request.Spec
	if spec.SignerName != signer {
		return fmt.Errorf("signer: got %s, expected %s", spec.SignerName, signer)
	}
	host, isNode := strings.CutPrefix(spec.Username, "system:node:")
	address, isDeclared := hosts[host]
	if !isNode || !isDeclared {
		return fmt.Errorf("requester: got %q, expected the node of a declared host", spec.Username)
	}
	if !slices.Contains(spec.Groups, "system:nodes") {
		return fmt.Errorf("groups of the requester: got %q, expected system:nodes among them", spec.Groups)
	}
	usages := slices.Sorted(slices.Values(spec.Usages))
	if !slices.Equal(usages, []string{"digital signature", "server auth"}) &&
		!slices.Equal(usages, []string{"digital signature", "key encipherment", "server auth"}) {
		return fmt.Errorf("usages: got %q, expected digital signature, server auth and perhaps key encipherment", usages)
	}

	block, rest := pem.Decode(spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("request: expected one PEM block, CERTIFICATE REQUEST")
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := asked.CheckSignature(); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	subject := asked.Subject
	if subject.CommonName != spec.Username || !slices.Equal(subject.Organization, []string{"system:nodes"}) || len(subject.Names) != 2 {
		return fmt.Errorf("subject: got %s, expected CN=%s,O=system:nodes", subject, spec.Username)
	}
	if !slices.Equal(asked.DNSNames, []string{host}) {
		return fmt.Errorf("DNS names: got %q, expected %s alone", asked.DNSNames, host)
	}
	if len(asked.IPAddresses) != 1 || !asked.IPAddresses[0].Equal(address) {
		return fmt.Errorf("addresses: got %v, expected %s alone", asked.IPAddresses, address)
	}
	if len(asked.EmailAddresses) > 0 || len(asked.URIs) > 0 {
		return fmt.Errorf("names: got %v %v beside DNS name and address, expected none", asked.EmailAddresses, asked.URIs)
	}
	for _, extension := range asked.Extensions {
		if !extension.Id.Equal(subjectAltName) {
			return fmt.Errorf("extensions: got %v, expected none but the names", extension.Id)
		}
	}
	return nil
}

// decided tells whether somebody has approved or refused the request, or the signer has failed.
func decided(request csr) bool { return len(request.Status.Conditions) > 0 }
