package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/gobwas/glob"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
)

// runLocal runs a command on this machine.
func runLocal(ctx context.Context, log logger, args commandArgs, line string) (commandResult, error) {
	interpreter := args.Interpreter
	if len(interpreter) == 0 {
		interpreter = []string{"/bin/sh", "-c"}
		if runtime.GOOS == "windows" {
			interpreter = []string{"cmd", "/C"}
		}
	}
	argv := append(slices.Clone(interpreter), line)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// The shell's children hold its output open: unless they are ended with it, a cancelled command never ends.
	cmdutil.RegisterProcessGroup(cmd)
	cmd.Cancel = func() error { return cmdutil.KillChildren(cmd.Process.Pid) }

	cmd.Dir = args.Dir
	if cmd.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return commandResult{}, err
		}
		cmd.Dir = dir
	}
	cmd.Env = os.Environ()
	for _, v := range append(args.environment(), args.previousOutput(ctx, log)...) {
		cmd.Env = append(cmd.Env, v.name+"="+v.value)
	}
	if args.Stdin != "" {
		cmd.Stdin = strings.NewReader(args.Stdin)
	}
	output := newOutput(ctx, log, args.Logging)
	cmd.Stdout, cmd.Stderr = output.out, output.err
	result, err := output.finish(cmd.Run(), line)
	if err != nil {
		return result, err
	}

	if args.AssetPaths != nil {
		if result.assets, err = findAssets(cmd.Dir, args.AssetPaths); err != nil {
			return result, fmt.Errorf("assetPaths: %w", err)
		}
	}
	if args.ArchivePaths != nil {
		assets, err := findAssets(cmd.Dir, args.ArchivePaths)
		if err != nil {
			return result, fmt.Errorf("archivePaths: %w", err)
		}
		members := map[string]any{}
		for name, asset := range assets {
			members[name] = asset
		}
		if result.archive, err = resource.NewAssetArchive(members); err != nil {
			return result, fmt.Errorf("archivePaths: %w", err)
		}
	}
	return result, nil
}

// findAssets returns the files below a directory that match the patterns, by their path from there. Patterns apply in
// order; one that begins with "!" takes away what matched before.
func findAssets(dir string, patterns []string) (map[string]*resource.Asset, error) {
	type rule struct {
		pattern glob.Glob
		exclude bool
	}
	rules := make([]rule, len(patterns))
	for i, pattern := range patterns {
		positive, exclude := strings.CutPrefix(pattern, "!")
		compiled, err := glob.Compile(positive, '/')
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		rules[i] = rule{compiled, exclude}
	}

	assets := map[string]*resource.Asset{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		included := false
		for _, rule := range rules {
			if rule.pattern.Match(name) {
				included = !rule.exclude
			}
		}
		if included {
			assets[name], err = resource.NewPathAsset(path.Join(dir, name))
		}
		return err
	})
	return assets, err
}
