package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// resourceType is what the plugin does for the resources of one type.
type resourceType interface {
	// check reports what the schema cannot say about inputs that fit it.
	check(inputs resource.PropertyMap) []*pulumirpc.CheckFailure
	// preview foretells the state after a create (old is nil) or an update. It runs and dials nothing.
	preview(old, inputs resource.PropertyMap) resource.PropertyMap
	create(ctx context.Context, log logger, inputs resource.PropertyMap) (resource.PropertyMap, error)
	update(ctx context.Context, log logger, old, inputs resource.PropertyMap) (resource.PropertyMap, error)
	delete(ctx context.Context, log logger, state resource.PropertyMap) error
	// updatable is false if every changed input replaces the resource.
	updatable() bool
	// newID makes the ID of a new resource of that name.
	newID(name string) (string, error)
}

var resourceTypes = map[string]resourceType{
	"command:local:Command":       command{run: runLocal},
	"command:remote:Command":      command{run: runRemote},
	"command:remote:CopyToRemote": copyToRemote{},
	"command:remote:CopyFile":     copyFile{},
}

type provider struct {
	pulumirpc.UnimplementedResourceProviderServer

	schema *packageSchema
	host   *sdk.HostClient
	// done ends when the engine cancels all operations.
	done   context.Context
	cancel context.CancelFunc
}

func newProvider(host *sdk.HostClient) (*provider, error) {
	schema, err := loadSchema()
	if err != nil {
		return nil, err
	}
	done, cancel := context.WithCancel(context.Background())
	return &provider{schema: schema, host: host, done: done, cancel: cancel}, nil
}

func (p *provider) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: p.schema.Version}, nil
}

func (p *provider) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return &pulumirpc.GetSchemaResponse{Schema: p.schema.full}, nil
}

func (p *provider) Attach(_ context.Context, req *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	host, err := sdk.NewHostClient(req.GetAddress())
	if err != nil {
		return nil, err
	}
	p.host = host
	return &emptypb.Empty{}, nil
}

func (p *provider) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	p.cancel()
	return &emptypb.Empty{}, nil
}

func (p *provider) CheckConfig(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: req.GetNews()}, nil
}

// DiffConfig finds no difference ever: the package has no configuration, and the official plugin's own notes in the
// provider's state mean nothing here.
func (p *provider) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
}

func (p *provider) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, AcceptResources: true}, nil
}

func (p *provider) Check(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	kind, spec, err := p.lookup(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	c := checker{types: p.schema.Types}
	inputs = c.object("", inputs, objectSpec{Properties: spec.InputProperties, Required: spec.RequiredInputs})
	if len(c.failures) == 0 {
		c.failures = kind.check(inputs)
	}
	checked, err := marshal(inputs)
	return &pulumirpc.CheckResponse{Inputs: checked, Failures: c.failures}, err
}

func (p *provider) Diff(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	kind, spec, err := p.lookup(req.GetUrn())
	if err != nil {
		return nil, err
	}
	// Engines that send no old inputs get the same from the state, which holds all inputs.
	before := req.GetOldInputs()
	if before == nil {
		before = req.GetOlds()
	}
	old, err := unmarshal(before)
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	// Keys that Diff is told to pass over, it passes over at every depth: names in environment are none of the schema's.
	inputs := func(all resource.PropertyMap) resource.PropertyMap {
		only := resource.PropertyMap{}
		for key, value := range all {
			if _, isInput := spec.InputProperties[string(key)]; isInput {
				only[key] = value
			}
		}
		return only
	}
	diff := inputs(old).Diff(inputs(news))
	if diff == nil {
		return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true}, nil
	}

	response := &pulumirpc.DiffResponse{
		Changes:         pulumirpc.DiffResponse_DIFF_SOME,
		HasDetailedDiff: true,
		DetailedDiff:    map[string]*pulumirpc.PropertyDiff{},
	}
	replaces := func(key string) bool { return !kind.updatable() || spec.InputProperties[key].ReplaceOnChanges }
	for _, key := range diff.ChangedKeys() {
		response.Diffs = append(response.Diffs, string(key))
		if replaces(string(key)) {
			response.Replaces = append(response.Replaces, string(key))
		}
	}
	for path, change := range plugin.NewDetailedDiffFromObjectDiff(diff, false) {
		parsed, err := resource.ParsePropertyPath(path)
		if err != nil {
			return nil, err
		}
		if key, ok := parsed[0].(string); ok && replaces(key) {
			change.Kind = change.Kind.AsReplace()
		}
		// Both enumerations have the same order.
		response.DetailedDiff[path] = &pulumirpc.PropertyDiff{Kind: pulumirpc.PropertyDiff_Kind(change.Kind)}
	}
	return response, nil
}

func (p *provider) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	kind, _, err := p.lookup(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		state, err := marshal(kind.preview(nil, inputs))
		return &pulumirpc.CreateResponse{Properties: state}, err
	}
	id, err := kind.newID(resource.URN(req.GetUrn()).Name())
	if err != nil {
		return nil, err
	}
	ctx, end := p.operation(ctx, req.GetTimeout())
	defer end()
	created, err := kind.create(ctx, p.logger(req.GetUrn()), inputs)
	if err != nil {
		return nil, err
	}
	state, err := marshal(created)
	return &pulumirpc.CreateResponse{Id: id, Properties: state}, err
}

func (p *provider) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	kind, _, err := p.lookup(req.GetUrn())
	if err != nil {
		return nil, err
	}
	old, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		state, err := marshal(kind.preview(old, inputs))
		return &pulumirpc.UpdateResponse{Properties: state}, err
	}
	ctx, end := p.operation(ctx, req.GetTimeout())
	defer end()
	updated, err := kind.update(ctx, p.logger(req.GetUrn()), old, inputs)
	if err != nil {
		return nil, err
	}
	state, err := marshal(updated)
	return &pulumirpc.UpdateResponse{Properties: state}, err
}

func (p *provider) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	kind, _, err := p.lookup(req.GetUrn())
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	ctx, end := p.operation(ctx, req.GetTimeout())
	defer end()
	return &emptypb.Empty{}, kind.delete(ctx, p.logger(req.GetUrn()), state)
}

// Read gives back what it got: what a command did cannot be read.
func (p *provider) Read(_ context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	return &pulumirpc.ReadResponse{Id: req.GetId(), Inputs: req.GetInputs(), Properties: req.GetProperties()}, nil
}

func (p *provider) Invoke(ctx context.Context, req *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	spec, known := p.schema.Functions[req.GetTok()]
	if !known {
		return nil, status.Errorf(codes.NotFound, "unknown function %q", req.GetTok())
	}
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	c := checker{types: p.schema.Types}
	if args = c.object("", args, spec.Inputs); len(c.failures) > 0 {
		return &pulumirpc.InvokeResponse{Failures: c.failures}, nil
	}
	ctx, end := p.operation(ctx, 0)
	defer end()
	result, err := command{run: runLocal}.runFirst(ctx, p.logger(""), args, "command")
	if err != nil {
		return nil, err
	}
	returned, err := marshal(result)
	return &pulumirpc.InvokeResponse{Return: returned}, err
}

func (p *provider) lookup(urn string) (resourceType, resourceSpec, error) {
	token := string(resource.URN(urn).Type())
	kind, known := resourceTypes[token]
	if !known {
		return nil, resourceSpec{}, status.Errorf(codes.NotFound, "unknown resource type %q", token)
	}
	return kind, p.schema.Resources[token], nil
}

// operation derives the context of one operation: it ends with the request, on Cancel, or after a timeout in seconds
// (0: none). The caller must call the function that it returns.
func (p *provider) operation(ctx context.Context, timeout float64) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.done, cancel)
	release := func() { stop(); cancel() }
	if timeout <= 0 {
		return ctx, release
	}
	ctx, cancelTimeout := context.WithTimeout(ctx, time.Duration(timeout*float64(time.Second)))
	return ctx, func() { cancelTimeout(); release() }
}

// logger sends messages about one resource to the engine.
type logger struct {
	host *sdk.HostClient
	urn  resource.URN
}

func (p *provider) logger(urn string) logger { return logger{p.host, resource.URN(urn)} }

// status shows a message beside the resource while the operation lasts. A message that is lost is no reason to fail.
func (l logger) status(ctx context.Context, message string) {
	if l.host != nil {
		_ = l.host.LogStatus(ctx, diag.Info, l.urn, message)
	}
}

func (l logger) warn(ctx context.Context, message string) {
	if l.host != nil {
		_ = l.host.Log(ctx, diag.Warning, l.urn, message)
	}
}

func unmarshal(properties *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(properties, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, KeepResources: true, SkipNulls: true,
	})
}

func marshal(properties resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(properties, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, KeepResources: true, SkipNulls: true,
	})
}

// decode reads properties, secret or not, into a struct with json tags. Properties without a field, unknown values,
// and assets are left out.
func decode(properties resource.PropertyMap, into any) error {
	text, err := json.Marshal(plain(resource.NewProperty(properties)))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading properties: %w", err)
	}
	return nil
}

func plain(v resource.PropertyValue) any {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsArray():
		items := make([]any, len(v.ArrayValue()))
		for i, item := range v.ArrayValue() {
			items[i] = plain(item)
		}
		return items
	case v.IsObject():
		entries := map[string]any{}
		for key, entry := range v.ObjectValue() {
			entries[string(key)] = plain(entry)
		}
		return entries
	case v.IsString(), v.IsNumber(), v.IsBool():
		return v.V
	default:
		return nil
	}
}
