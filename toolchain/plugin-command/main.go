// Command plugin-command is a Pulumi resource plugin that runs commands and copies files, on this machine or over SSH.
//
// It has the schema and the behaviour of pulumi-resource-command 1.2.1, so that state made with either is good under
// the other. It exists for networks where that binary cannot be downloaded. README.md lists what it does better.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

func main() {
	if len(os.Args) > 1 {
		go endWithEngine(os.Args[len(os.Args)-1])
	}
	err := sdk.Main("command", func(host *sdk.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return newProvider(host)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}

// endWithEngine ends this process soon after the engine at this address is gone: one that is killed tells nobody, and
// nobody would hear what its commands do.
func endWithEngine(address string) {
	for {
		time.Sleep(time.Second)
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err == nil {
			_ = conn.Close()
			continue
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			fmt.Fprintln(os.Stderr, "pulumi-resource-command: the engine at", address, "is gone")
			os.Exit(1)
		}
	}
}
