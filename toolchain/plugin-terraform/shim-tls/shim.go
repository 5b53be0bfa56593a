// Package shim reaches the upstream provider, which lies in an internal package: this module's path starts with the
// upstream's, so Go lets it in.
package shim

import (
	upstream "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-provider-tls/internal/provider"
)

// NewProvider returns the upstream tls provider.
func NewProvider() upstream.Provider {
	return provider.New()
}
