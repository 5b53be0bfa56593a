package main

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// stored is an object as kube-apiserver writes it to etcd.
func stored(t *testing.T, kind string, object runtime.Object) []byte {
	t.Helper()
	object.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	var value bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &value); err != nil {
		t.Fatal(err)
	}
	return value.Bytes()
}

func TestDecodesAStoredObject(t *testing.T) {
	value := stored(t, "ConfigMap", &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "colours", Namespace: "default"},
		Data:       map[string]string{"sky": "blue"},
	})
	var out bytes.Buffer
	if err := run(bytes.NewReader(value), &out); err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"colours","namespace":"default"},"data":{"sky":"blue"}}` + "\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	whole := stored(t, "ConfigMap", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "colours"}})
	for name, one := range map[string]struct{ value, want string }{
		"nothing":      {"", "empty data"},
		"JSON":         {`{"kind":"ConfigMap"}`, "expected prefix [107 56 115 0]"},
		"ciphertext":   {"k8s:enc:aescbc:v1:key1:abc", "expected prefix [107 56 115 0]"},
		"a cut one":    {string(whole[:len(whole)-8]), "unexpected EOF"},
		"another kind": {string(stored(t, "Potato", &corev1.ConfigMap{})), "Potato of v1 is not a type of the Kubernetes version"},
	} {
		var out bytes.Buffer
		err := run(strings.NewReader(one.value), &out)
		if err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, one.want)
		}
		if out.Len() > 0 {
			t.Errorf("%s: wrote %q", name, out.String())
		}
	}
}
