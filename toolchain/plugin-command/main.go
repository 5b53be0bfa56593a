// Command plugin-command is a Pulumi resource plugin that runs commands and copies files, on this machine or over SSH.
//
// It has the schema and the behaviour of pulumi-resource-command 1.2.1, so that state made with either is good under
// the other. It exists for networks where that binary cannot be downloaded. README.md lists what it does better.
package main

import (
	"fmt"
	"os"

	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

func main() {
	err := sdk.Main("command", func(host *sdk.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return newProvider(host)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}
