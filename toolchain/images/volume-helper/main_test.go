package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCreateAndDelete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pvc-1_default_data")
	for range 2 {
		if err := act("create", "Filesystem", path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "kept"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for folder, want := range map[string]os.FileMode{path: 0o777, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v %v, expected mode %o", folder, info, err, want)
		}
	}
	for range 2 {
		if err := act("delete", "Filesystem", path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		t.Errorf("the folder above is gone: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range [][3]string{
		{"create", "Block", dir + "/v"},
		{"create", "Filesystem", dir + "/no/folder"},
		{"remove", "Filesystem", dir + "/v"},
		{"delete", "Filesystem", "/etc"},
		{"delete", "Filesystem", dir + "/v/.."},
		{"delete", "Filesystem", "v"},
		{"delete", "Filesystem", ""},
	} {
		if err := act(c[0], c[1], c[2]); err == nil {
			t.Errorf("%v was not refused", c)
		}
	}
}
