// Package plugins describes how the two Terraform providers look as Pulumi packages: the tokens, names and versions of
// the official @pulumi/tls and @pulumi/random, so that state made with one build is good under the other.
package plugins

import (
	"context"
	"fmt"

	tls "github.com/hashicorp/terraform-provider-tls/shim"
	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	random "github.com/terraform-providers/terraform-provider-random/shim"
)

// Set at link time from the table in ../../modules.ts.
var (
	tlsVersion    = "0.0.0"
	randomVersion = "0.0.0"
)

// TLS is the package behind @pulumi/tls.
func TLS(metadata []byte) tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		Name:         "tls",
		P:            pf.ShimProvider(tls.NewProvider()),
		GitHubOrg:    "hashicorp",
		Repository:   "https://github.com/pulumi/pulumi-tls",
		License:      "Apache-2.0",
		Version:      tlsVersion,
		MetadataInfo: tfbridge.NewProviderMetadata(metadata),
	}
	info.MustComputeTokens(tokens.SingleModule("tls_", "index", tokens.MakeStandard("tls")))
	return info
}

// Random is the package behind @pulumi/random.
func Random(metadata []byte) tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		Name:         "random",
		P:            pf.ShimProvider(random.NewProvider()),
		GitHubOrg:    "hashicorp",
		Repository:   "https://github.com/pulumi/pulumi-random",
		License:      "Apache-2.0",
		Version:      randomVersion,
		MetadataInfo: tfbridge.NewProviderMetadata(metadata),
		Resources: map[string]*tfbridge.ResourceInfo{
			"random_bytes": {ComputeID: idFromBase64},
		},
	}
	// The official names keep the word "random": RandomPassword, not Password.
	info.MustComputeTokens(tokens.SingleModule("random_", "index", func(module, name string) (string, error) {
		return tokens.MakeStandard("random")(module, "Random"+name)
	}))
	return info
}

// random_bytes has no id attribute; its official id is the base64 text. An id cannot be a secret, so the mark is taken off.
func idFromBase64(_ context.Context, state resource.PropertyMap) (resource.ID, error) {
	value := state["base64"]
	if value.IsSecret() {
		value = value.SecretValue().Element
	}
	if !value.IsString() {
		return "", fmt.Errorf("random_bytes: got no base64 text in the state; expected a string")
	}
	return resource.ID(value.StringValue()), nil
}
