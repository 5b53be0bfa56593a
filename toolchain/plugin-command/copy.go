package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// copyToRemote is a file or a directory that is copied to a host. Deleting it leaves the copy there.
type copyToRemote struct{}

func (copyToRemote) updatable() bool              { return true }
func (copyToRemote) newID(string) (string, error) { return resource.NewUniqueHex("", 8, 0) }

func (copyToRemote) preview(_, inputs resource.PropertyMap) resource.PropertyMap { return inputs }

func (copyToRemote) delete(context.Context, logger, resource.PropertyMap) error { return nil }

func (copyToRemote) check(inputs resource.PropertyMap) []*pulumirpc.CheckFailure {
	source := unwrap(inputs["source"])
	var reason string
	switch {
	case source.IsAsset() && !source.AssetValue().IsPath() && !source.AssetValue().IsText():
		reason = "expected a file or a text, got a remote asset"
	case source.IsArchive() && !source.ArchiveValue().IsPath():
		reason = "expected a file or a directory, got an archive of assets or a remote one"
	default:
		return nil
	}
	return []*pulumirpc.CheckFailure{{Property: "source", Reason: reason}}
}

func (copyToRemote) create(ctx context.Context, log logger, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	var args struct {
		Connection *connection `json:"connection"`
		RemotePath string      `json:"remotePath"`
	}
	if err := decode(inputs, &args); err != nil {
		return nil, err
	}
	source := unwrap(inputs["source"])
	return inputs, withSFTP(ctx, log, args.Connection, func(remote remoteFS) error {
		switch {
		case source.IsArchive():
			return remote.copy(source.ArchiveValue().Path, args.RemotePath)
		case source.IsAsset() && source.AssetValue().IsPath():
			return remote.copy(source.AssetValue().Path, args.RemotePath)
		case source.IsAsset():
			return remote.copyText(source.AssetValue().Text, args.RemotePath)
		}
		return fmt.Errorf("source: expected an asset or an archive, got %s", source.TypeString())
	})
}

// update copies if the contents or the destination changed. Another connection, or the same contents from another
// path, is no reason to.
func (c copyToRemote) update(
	ctx context.Context, log logger, old, inputs resource.PropertyMap,
) (resource.PropertyMap, error) {
	if unwrap(old["source"]).DeepEquals(unwrap(inputs["source"])) &&
		unwrap(old["remotePath"]).DeepEquals(unwrap(inputs["remotePath"])) {
		return inputs, nil
	}
	return c.create(ctx, log, inputs)
}

// copyFile is the older and simpler form of copyToRemote: one file, to exactly the given path.
type copyFile struct{ copyToRemote }

func (copyFile) updatable() bool                                      { return false }
func (copyFile) check(resource.PropertyMap) []*pulumirpc.CheckFailure { return nil }

func (copyFile) create(ctx context.Context, log logger, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	var args struct {
		Connection *connection `json:"connection"`
		LocalPath  string      `json:"localPath"`
		RemotePath string      `json:"remotePath"`
	}
	if err := decode(inputs, &args); err != nil {
		return nil, err
	}
	return inputs, withSFTP(ctx, log, args.Connection, func(remote remoteFS) error {
		return remote.copyFile(args.LocalPath, args.RemotePath)
	})
}

func (c copyFile) update(
	ctx context.Context, log logger, _, inputs resource.PropertyMap,
) (resource.PropertyMap, error) {
	return c.create(ctx, log, inputs)
}

func unwrap(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	return v
}

// remoteFS is the file system of a host.
type remoteFS struct{ *sftp.Client }

func withSFTP(ctx context.Context, log logger, c *connection, do func(remoteFS) error) error {
	client, err := c.dial(ctx, log)
	if err != nil {
		return err
	}
	defer discard(client)
	stop := context.AfterFunc(ctx, func() { discard(client) })
	defer stop()
	// After a failed concurrent write a file may have holes: such a file is never kept (see remoteFS.write).
	remote, err := sftp.NewClient(client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return err
	}
	defer discard(remote)
	err = do(remoteFS{remote})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stat describes a path, following links. It returns nil if there is nothing.
func (r remoteFS) stat(name string) (fs.FileInfo, error) {
	info, err := r.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to stat remote path %s: %w", name, err)
	}
	return info, nil
}

// copy copies a local file or directory to dest:
//
//	source | dest is a directory | dest does not exist | dest is a file
//	dir    | dest/dir            | dest/dir            | error
//	dir/   | dest/*              | dest/*              | error
//	file   | dest/file           | dest                | dest, overwritten
//
// Parent directories of dest are made if they are missing.
func (r remoteFS) copy(source, dest string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	existing, err := r.stat(dest)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if existing == nil {
			if err := r.MkdirAll(dest); err != nil {
				return fmt.Errorf("failed to create remote directory %s: %w", dest, err)
			}
		}
		if !strings.HasSuffix(source, "/") {
			dest = path.Join(dest, filepath.Base(source))
		}
		return r.copyDir(source, dest)
	}
	if existing != nil && existing.IsDir() {
		return r.copyFile(source, path.Join(dest, filepath.Base(source)))
	}
	if err := r.makeParent(dest); err != nil {
		return err
	}
	return r.copyFile(source, dest)
}

func (r remoteFS) copyDir(source, dest string) error {
	return fs.WalkDir(os.DirFS(source), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := path.Join(dest, name)
		if !entry.IsDir() {
			return r.copyFile(filepath.Join(source, filepath.FromSlash(name)), target)
		}
		existing, err := r.stat(target)
		switch {
		case err != nil:
			return err
		case existing == nil:
			if err := r.Mkdir(target); err != nil {
				return fmt.Errorf("failed to create remote directory %s: %w", target, err)
			}
		case !existing.IsDir():
			return fmt.Errorf("remote path %s exists but is not a directory", target)
		}
		return nil
	})
}

func (r remoteFS) copyFile(source, dest string) error {
	local, err := os.Open(source)
	if err != nil {
		return err
	}
	defer discard(local)
	info, err := local.Stat()
	if err != nil {
		return err
	}
	if err := r.write(dest, local, info.Size()); err != nil {
		return fmt.Errorf("failed to copy file %s to remote path %s: %w", source, dest, err)
	}
	return nil
}

func (r remoteFS) copyText(contents, dest string) error {
	existing, err := r.stat(dest)
	if err != nil {
		return err
	}
	if existing != nil && existing.IsDir() {
		return fmt.Errorf("remote path %s is a directory; when using a text asset, remotePath must be a file path", dest)
	}
	if err := r.makeParent(dest); err != nil {
		return err
	}
	if err := r.write(dest, strings.NewReader(contents), int64(len(contents))); err != nil {
		return fmt.Errorf("failed to write text content to remote path %s: %w", dest, err)
	}
	return nil
}

func (r remoteFS) makeParent(dest string) error {
	if err := r.MkdirAll(path.Dir(dest)); err != nil {
		return fmt.Errorf("failed to create parent directories for %s: %w", dest, err)
	}
	return nil
}

// write gives a remote file new contents of that size. Whoever reads it sees the old contents or the new, and a
// running program may be replaced, because the contents go to a file beside it that then takes its place, with its
// mode and owner. Where that cannot be done (links, devices, directories closed to the user), it writes in place.
func (r remoteFS) write(dest string, contents io.Reader, size int64) error {
	partial := path.Join(path.Dir(dest), "."+path.Base(dest)+".pulumi-partial")
	file, err := r.createBeside(dest, partial)
	if err != nil {
		return err
	}
	if file == nil {
		if file, err = r.Create(dest); err != nil {
			return err
		}
		return fill(file, contents, size)
	}
	if err = fill(file, contents, size); err == nil {
		err = r.PosixRename(partial, dest)
	}
	if err != nil {
		_ = r.Remove(partial)
	}
	return err
}

// createBeside makes an empty file with the mode and owner of dest, or as a new file if dest does not exist. It
// returns nil if that would not be a true replacement.
func (r remoteFS) createBeside(dest, partial string) (*sftp.File, error) {
	if _, ok := r.HasExtension("posix-rename@openssh.com"); !ok {
		return nil, nil
	}
	old, err := r.Lstat(dest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	exists := err == nil
	if exists && !old.Mode().IsRegular() {
		return nil, nil
	}
	// What a cut-off copy left behind may belong to someone else or have another mode.
	_ = r.Remove(partial)
	file, err := r.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, nil //nolint:nilerr // the directory takes no new files: the file itself may still be written
	}
	if exists && !r.takeAfter(file, old) {
		discard(file)
		_ = r.Remove(partial)
		return nil, nil
	}
	return file, nil
}

// takeAfter gives a new file the mode and owner of an old one, and tells whether that worked.
func (r remoteFS) takeAfter(file *sftp.File, old fs.FileInfo) bool {
	now, err := file.Stat()
	if err != nil {
		return false
	}
	was, is := old.Sys().(*sftp.FileStat), now.Sys().(*sftp.FileStat)
	if (was.UID != is.UID || was.GID != is.GID) && file.Chown(int(was.UID), int(was.GID)) != nil {
		return false
	}
	return file.Chmod(old.Mode()) == nil
}

// fill writes a file and closes it.
func fill(file *sftp.File, contents io.Reader, size int64) error {
	written, err := file.ReadFrom(contents)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil && written != size {
		err = fmt.Errorf("wrote %d of %d bytes", written, size)
	}
	return err
}
