// tfgen writes the schema and the bridge metadata of one plugin: tfgen tls|random schema --out DIR --skip-docs --skip-examples
package main

import (
	"fmt"
	"os"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"

	"plainkube/toolchain/plugin-terraform/plugins"
)

func main() {
	known := map[string]func([]byte) tfbridge.ProviderInfo{"tls": plugins.TLS, "random": plugins.Random}
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	build, ok := known[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "tfgen: unknown plugin %q; expected tls or random as the first argument\n", name)
		os.Exit(2)
	}
	os.Args = append(os.Args[:1], os.Args[2:]...)
	info := build([]byte("{}"))
	tfgen.Main(info.Name, info)
}
