package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// command is a resource that runs commands when it is created, updated and deleted. run tells where.
type command struct {
	run func(ctx context.Context, log logger, args commandArgs, line string) (commandResult, error)
}

// commandArgs are the properties of a command, local or remote: its inputs and what its last run printed.
type commandArgs struct {
	Connection             *connection       `json:"connection"`
	Interpreter            []string          `json:"interpreter"`
	Dir                    string            `json:"dir"`
	Environment            map[string]string `json:"environment"`
	AddPreviousOutputInEnv *bool             `json:"addPreviousOutputInEnv"`
	Stdin                  string            `json:"stdin"`
	Logging                *string           `json:"logging"`
	AssetPaths             []string          `json:"assetPaths"`
	ArchivePaths           []string          `json:"archivePaths"`
	Stdout                 string            `json:"stdout"`
	Stderr                 string            `json:"stderr"`
}

// commandResult is what a run adds to the state. Without assets or an archive the state keeps those of the last run.
type commandResult struct {
	stdout, stderr string
	assets         map[string]*resource.Asset
	archive        *resource.Archive
}

var commandOutputs = []resource.PropertyKey{"stdout", "stderr", "assets", "archive"}

func (command) check(resource.PropertyMap) []*pulumirpc.CheckFailure { return nil }
func (command) updatable() bool                                      { return true }
func (command) newID(name string) (string, error)                    { return resource.NewUniqueHex(name, 8, 0) }

func (command) preview(old, inputs resource.PropertyMap) resource.PropertyMap {
	unknown := resource.MakeComputed(resource.NewProperty(""))
	state := inputs.Copy()
	state["stdout"], state["stderr"] = unknown, unknown
	for input, output := range map[resource.PropertyKey]resource.PropertyKey{
		"assetPaths": "assets", "archivePaths": "archive",
	} {
		_, had := old[output]
		if _, wanted := inputs[input]; wanted || had {
			state[output] = unknown
		}
	}
	return state
}

func (c command) create(ctx context.Context, log logger, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	return c.runFirst(ctx, log, inputs, "create")
}

func (c command) update(
	ctx context.Context, log logger, old, inputs resource.PropertyMap,
) (resource.PropertyMap, error) {
	state := inputs.Copy()
	for _, key := range commandOutputs {
		if value, ok := old[key]; ok {
			state[key] = value
		}
	}
	return c.runFirst(ctx, log, state, "update", "create")
}

func (c command) delete(ctx context.Context, log logger, state resource.PropertyMap) error {
	_, err := c.runFirst(ctx, log, state, "delete")
	return err
}

// runFirst runs the first of the named commands that is set, and returns the state after it. If none is set, the
// state stays as it is.
func (c command) runFirst(
	ctx context.Context, log logger, before resource.PropertyMap, names ...resource.PropertyKey,
) (resource.PropertyMap, error) {
	state := resource.PropertyMap{"stdout": resource.NewProperty(""), "stderr": resource.NewProperty("")}
	maps.Copy(state, before)
	for _, name := range names {
		value, set := state[name]
		if !set {
			continue
		}
		line, _ := plain(value).(string)
		var args commandArgs
		if err := decode(state, &args); err != nil {
			return nil, err
		}
		result, err := c.run(ctx, log, args, line)
		if err != nil {
			return nil, err
		}
		result.addTo(state)
		return state, nil
	}
	return state, nil
}

func (r commandResult) addTo(state resource.PropertyMap) {
	state["stdout"] = resource.NewProperty(r.stdout)
	state["stderr"] = resource.NewProperty(r.stderr)
	if r.assets != nil {
		assets := resource.PropertyMap{}
		for path, asset := range r.assets {
			assets[resource.PropertyKey(path)] = resource.NewProperty(asset)
		}
		state["assets"] = resource.NewProperty(assets)
	}
	if r.archive != nil {
		state["archive"] = resource.NewProperty(r.archive)
	}
}

type variable struct{ name, value string }

// environment returns the variables of args.Environment in the order of their names.
func (args commandArgs) environment() []variable {
	variables := make([]variable, 0, len(args.Environment))
	for _, name := range slices.Sorted(maps.Keys(args.Environment)) {
		variables = append(variables, variable{name, args.Environment[name]})
	}
	return variables
}

// maxVariable is the most that Linux takes in one variable, name included (MAX_ARG_STRLEN).
const maxVariable = 128 << 10

// previousOutput returns the variables that hold what the last run printed. One that is too long is left out with a
// warning, because no program could be started with it.
func (args commandArgs) previousOutput(ctx context.Context, log logger) []variable {
	if args.AddPreviousOutputInEnv != nil && !*args.AddPreviousOutputInEnv {
		return nil
	}
	var variables []variable
	for _, v := range []variable{{"PULUMI_COMMAND_STDOUT", args.Stdout}, {"PULUMI_COMMAND_STDERR", args.Stderr}} {
		switch {
		case v.value == "":
		case len(v.name)+len(v.value)+2 > maxVariable:
			log.warn(ctx, fmt.Sprintf("%s is not set: the previous output has %d bytes, and a variable holds %d at "+
				"most. Set addPreviousOutputInEnv to false if the command does not need it.",
				v.name, len(v.value), maxVariable))
		default:
			variables = append(variables, v)
		}
	}
	return variables
}

// output collects what a command prints: each stream for the state, both as they came for error messages, and line
// by line for the engine's display.
type output struct {
	mu                       sync.Mutex
	stdout, stderr, together bytes.Buffer
	out, err                 *stream
}

// stream is one of a command's two output streams.
type stream struct {
	output *output
	own    *bytes.Buffer
	show   func(line string) // nil: the stream is not shown
	line   []byte
}

// maxLine is the length in bytes above which a line is shown in pieces.
const maxLine = 64 << 10

func newOutput(ctx context.Context, log logger, logging *string) *output {
	show := func(name string) func(string) {
		if logging == nil || *logging == name || *logging == "stdoutAndStderr" {
			return func(line string) { log.status(ctx, line) }
		}
		return nil
	}
	o := &output{}
	o.out = &stream{output: o, own: &o.stdout, show: show("stdout")}
	o.err = &stream{output: o, own: &o.stderr, show: show("stderr")}
	return o
}

func (s *stream) Write(p []byte) (int, error) {
	s.output.mu.Lock()
	s.own.Write(p)
	s.output.together.Write(p)
	s.output.mu.Unlock()

	if s.show == nil {
		return len(p), nil
	}
	s.line = append(s.line, p...)
	for {
		end, next := bytes.IndexByte(s.line, '\n'), 0
		switch {
		case end >= 0:
			next = end + 1
		case len(s.line) >= maxLine:
			end, next = maxLine, maxLine
		default:
			return len(p), nil
		}
		s.show(strings.TrimSuffix(string(s.line[:end]), "\r"))
		s.line = s.line[next:]
	}
}

// finish shows what is left of a last line without an end, and returns the result of a command that ended with err.
// It may be called only when nothing is written any more.
func (o *output) finish(err error, line string) (commandResult, error) {
	for _, s := range []*stream{o.out, o.err} {
		if s.show != nil && len(s.line) > 0 {
			s.show(string(s.line))
		}
	}
	if err != nil {
		return commandResult{}, fmt.Errorf("%w: running %q:\n%s", err, line, text(&o.together))
	}
	return commandResult{
		stdout: strings.TrimSuffix(text(&o.stdout), "\n"),
		stderr: strings.TrimSuffix(text(&o.stderr), "\n"),
	}, nil
}

// text returns what was printed as valid UTF-8, the only kind of text that state can hold.
func text(printed *bytes.Buffer) string { return strings.ToValidUTF8(printed.String(), "\uFFFD") }
