package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// schemaSource is the package schema, except that every resource and function lists as outputs only what its inputs
// do not have: all inputs are outputs too. [loadSchema] puts them together.
//
//go:embed schema.json
var schemaSource []byte

// packageSchema is the part of a Pulumi package schema that checking inputs needs.
type packageSchema struct {
	Version   string                  `json:"version"`
	Types     map[string]objectSpec   `json:"types"`
	Resources map[string]resourceSpec `json:"resources"`
	Functions map[string]functionSpec `json:"functions"`

	// full is the complete schema as JSON, as the engine gets it.
	full string
}

type resourceSpec struct {
	InputProperties map[string]propertySpec `json:"inputProperties"`
	RequiredInputs  []string                `json:"requiredInputs"`
}

type functionSpec struct {
	Inputs objectSpec `json:"inputs"`
}

type objectSpec struct {
	Type       string                  `json:"type"`
	Properties map[string]propertySpec `json:"properties"`
	Required   []string                `json:"required"`
}

type propertySpec struct {
	Type                 string        `json:"type"`
	Ref                  string        `json:"$ref"`
	Items                *propertySpec `json:"items"`
	AdditionalProperties *propertySpec `json:"additionalProperties"`
	Default              any           `json:"default"`
	Secret               bool          `json:"secret"`
	ReplaceOnChanges     bool          `json:"replaceOnChanges"`
}

func loadSchema() (*packageSchema, error) {
	var schema packageSchema
	if err := json.Unmarshal(schemaSource, &schema); err != nil {
		return nil, fmt.Errorf("schema.json: %w", err)
	}
	var full map[string]any
	if err := json.Unmarshal(schemaSource, &full); err != nil {
		return nil, fmt.Errorf("schema.json: %w", err)
	}
	for _, spec := range full["resources"].(map[string]any) {
		spec := spec.(map[string]any)
		addInputs(spec, spec["inputProperties"], spec["requiredInputs"])
	}
	for _, spec := range full["functions"].(map[string]any) {
		spec := spec.(map[string]any)
		inputs := spec["inputs"].(map[string]any)
		addInputs(spec["outputs"].(map[string]any), inputs["properties"], inputs["required"])
	}
	text, err := json.Marshal(full)
	schema.full = string(text)
	return &schema, err
}

// addInputs adds input properties to the properties of an output object.
func addInputs(outputs map[string]any, properties, required any) {
	maps.Copy(outputs["properties"].(map[string]any), properties.(map[string]any))
	names, _ := required.([]any)
	own, _ := outputs["required"].([]any)
	outputs["required"] = slices.Concat(names, own)
}

// checker compares properties with the schema, adds defaults and marks secrets.
type checker struct {
	types    map[string]objectSpec
	failures []*pulumirpc.CheckFailure
}

func (c *checker) fail(path, format string, args ...any) {
	c.failures = append(c.failures, &pulumirpc.CheckFailure{Property: path, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) object(path string, values resource.PropertyMap, spec objectSpec) resource.PropertyMap {
	checked := resource.PropertyMap{}
	for _, key := range values.StableKeys() {
		if path == "" && isInternal(key) {
			continue
		}
		property, known := spec.Properties[string(key)]
		if !known {
			c.fail(join(path, string(key)), "unknown property; known are %s",
				strings.Join(slices.Sorted(maps.Keys(spec.Properties)), ", "))
			continue
		}
		value := c.value(join(path, string(key)), values[key], property)
		if property.Secret && !value.IsSecret() {
			value = resource.MakeSecret(value)
		}
		checked[key] = value
	}
	for name, property := range spec.Properties {
		if _, given := checked[resource.PropertyKey(name)]; !given && property.Default != nil {
			checked[resource.PropertyKey(name)] = resource.NewPropertyValue(property.Default)
		}
	}
	for _, name := range spec.Required {
		if _, given := values[resource.PropertyKey(name)]; !given {
			c.fail(join(path, name), "missing required property")
		}
	}
	return checked
}

func (c *checker) value(path string, v resource.PropertyValue, spec propertySpec) resource.PropertyValue {
	expected := spec.Type
	var matches bool
	switch {
	case v.IsSecret():
		return resource.MakeSecret(c.value(path, v.SecretValue().Element, spec))
	case v.IsComputed(), v.IsOutput(), spec.Ref == "pulumi.json#/Any":
		return v
	case spec.Ref == "pulumi.json#/Asset":
		expected, matches = "asset or archive", v.IsAsset() || v.IsArchive()
	case strings.HasPrefix(spec.Ref, "#/types/"):
		named := c.types[strings.TrimPrefix(spec.Ref, "#/types/")]
		if expected, matches = named.Type, v.IsString(); named.Type == "object" {
			if matches = v.IsObject(); matches {
				return resource.NewProperty(c.object(path, v.ObjectValue(), named))
			}
		}
	case spec.Type == "string":
		matches = v.IsString()
	case spec.Type == "boolean":
		matches = v.IsBool()
	case spec.Type == "number":
		matches = v.IsNumber()
	case spec.Type == "integer":
		matches = v.IsNumber() && v.NumberValue() == math.Trunc(v.NumberValue())
	case spec.Type == "array":
		if matches = v.IsArray(); matches {
			items := make([]resource.PropertyValue, len(v.ArrayValue()))
			for i, item := range v.ArrayValue() {
				items[i] = c.value(fmt.Sprintf("%s[%d]", path, i), item, *spec.Items)
			}
			return resource.NewProperty(items)
		}
	case spec.Type == "object":
		if matches = v.IsObject(); matches {
			entries := resource.PropertyMap{}
			for key, entry := range v.ObjectValue() {
				entries[key] = c.value(join(path, string(key)), entry, *spec.AdditionalProperties)
			}
			return resource.NewProperty(entries)
		}
	}
	if !matches {
		c.fail(path, "expected a value of type %s, got %s", expected, v.TypeString())
	}
	return v
}

// isInternal tells the engine's own keys from a resource's properties.
func isInternal(key resource.PropertyKey) bool {
	return key == "version" || strings.HasPrefix(string(key), "__")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
