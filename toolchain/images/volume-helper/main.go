// volume-helper makes and removes the folder of one volume. local-path-provisioner runs it on the volume's node with the
// folder above mounted at the same path, in the place of its shell scripts: the image holds no shell.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// act does one action ("create" or "delete") on the volume at path. Both succeed when they were done before.
func act(action, mode, path string) error {
	if !filepath.IsAbs(path) || filepath.Dir(path) == "/" || filepath.Clean(path) != path {
		return fmt.Errorf("-p: got %q, expected the clean absolute path of a folder below another", path)
	}
	switch action {
	case "create":
		if mode != "Filesystem" {
			return fmt.Errorf("-m: got %q, expected Filesystem; claim a volume with volumeMode Filesystem", mode)
		}
		// What pods keep is none of the host's users' business; mounts of it pass by this folder.
		if err := os.Chmod(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// The pod's user is not known here, and hostPath volumes take no fsGroup.
		return os.Chmod(path, 0o777)
	case "delete":
		return os.RemoveAll(path)
	}
	return fmt.Errorf("-a: got %q, expected create or delete", action)
}

func main() {
	path := flag.String("p", "", "folder of the volume")
	mode := flag.String("m", "", "the volume's mode; only Filesystem can be made")
	action := flag.String("a", "", "create or delete")
	_ = flag.Int64("s", 0, "size in bytes; a folder has none")
	flag.Parse()
	if err := act(*action, *mode, *path); err != nil {
		fmt.Fprintln(os.Stderr, "volume-helper:", err)
		os.Exit(1)
	}
}
