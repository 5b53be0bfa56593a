// The tls plugin. The build generates both embedded files with ../tfgen (see ../../../modules.ts).
package main

import (
	"context"
	_ "embed"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"

	"plainkube/toolchain/plugin-terraform/plugins"
)

//go:embed schema.json
var schema []byte

//go:embed bridge-metadata.json
var bridgeMetadata []byte

func main() {
	info := plugins.TLS(bridgeMetadata)
	tfbridge.Main(context.Background(), info.Name, info, tfbridge.ProviderMetadata{PackageSchema: schema})
}
