// Command etcd-decode reads from standard input one value as kube-apiserver stores it in etcd in protobuf, and writes the
// object to standard output as JSON, with its apiVersion and kind. It fails on anything else.
package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// Far above what etcd takes by default (--max-request-bytes, 1.5 MiB).
const largest = 64 << 20

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	value, err := io.ReadAll(io.LimitReader(in, largest+1))
	if err != nil {
		return fmt.Errorf("reading the value: %w", err)
	}
	if len(value) > largest {
		return fmt.Errorf("got more than %d bytes, expected one stored value", largest)
	}
	object, err := decode(value)
	if err != nil {
		return err
	}
	printer := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{})
	return printer.Encode(object, out)
}

// decode reads the envelope (the prefix "k8s\0", then a runtime.Unknown with apiVersion and kind) and the message in it.
func decode(value []byte) (runtime.Object, error) {
	object, kind, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(value, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		return nil, fmt.Errorf("%s of %s is not a type of the Kubernetes version that this decoder is made from", kind.Kind, kind.GroupVersion())
	}
	if err != nil {
		return nil, fmt.Errorf("decoding the value: %w", err)
	}
	// Go's types leave both empty; they were part of the envelope.
	object.GetObjectKind().SetGroupVersionKind(*kind)
	return object, nil
}
