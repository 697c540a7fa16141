package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// build packs two programs and a CA bundle and returns the archive's files by name.
func build(t *testing.T) (archive []byte, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"manager": "manager program", "worker": "worker program", "ca": "certificates"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image.tar")
	err := run([]string{
		"-ref", "localhost/app:1", "-out", out, "-ca", filepath.Join(dir, "ca"), "-entrypoint", "/worker",
		"/manager=" + filepath.Join(dir, "manager"), "/worker=" + filepath.Join(dir, "worker"),
	})
	if err != nil {
		t.Fatal(err)
	}
	archive, err = os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return archive, untar(t, archive)
}

func untar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[fmt.Sprintf("%s %o", h.Name, h.Mode)] = data
	}
}

// follow reads the blob that a descriptor names, and checks its digest and size.
func follow(t *testing.T, files map[string][]byte, d descriptor) []byte {
	t.Helper()
	hash, ok := strings.CutPrefix(d.Digest, "sha256:")
	data, found := files["blobs/sha256/"+hash+" 644"]
	if !ok || !found || len(data) != d.Size || fmt.Sprintf("%x", sha256.Sum256(data)) != hash {
		t.Fatalf("descriptor %+v: blob missing, or of another size or digest", d)
	}
	return data
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestArchiveLeadsFromIndexToPrograms(t *testing.T) {
	_, files := build(t)
	idx := decode[index](t, files["index.json 644"])
	if len(idx.Manifests) != 1 || idx.Manifests[0].Annotations["io.containerd.image.name"] != "localhost/app:1" {
		t.Fatalf("index names %+v, want the one image localhost/app:1", idx.Manifests)
	}
	m := decode[manifest](t, follow(t, files, idx.Manifests[0]))
	c := decode[config](t, follow(t, files, m.Config))
	layer := follow(t, files, m.Layers[0])
	if diff := cmp.Diff([]string{m.Layers[0].Digest}, c.RootFS.DiffIDs); diff != "" {
		t.Errorf("layers of the configuration (-want +got):\n%s", diff)
	}
	want := runConfig{
		User: "65532:65532", Entrypoint: []string{"/worker"}, WorkingDir: "/",
		Env: []string{"PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
	}
	if diff := cmp.Diff(want, c.Config); diff != "" {
		t.Errorf("how the image runs (-want +got):\n%s", diff)
	}
	inside := map[string]string{}
	for name, data := range untar(t, layer) {
		inside[name] = string(data)
	}
	wantFiles := map[string]string{
		"tmp/ 1777": "", "etc/ 755": "", "etc/ssl/ 755": "", "etc/ssl/certs/ 755": "", "home/ 755": "", "home/nonroot/ 755": "",
		"etc/passwd 644": passwd, "etc/group 644": group, "etc/ssl/certs/ca-certificates.crt 644": "certificates",
		"manager 755": "manager program", "worker 755": "worker program",
	}
	if diff := cmp.Diff(wantFiles, inside); diff != "" {
		t.Errorf("files of the image, which must hold no shell (-want +got):\n%s", diff)
	}
}

func TestSameInputsGiveTheSameArchive(t *testing.T) {
	first, _ := build(t)
	second, _ := build(t)
	if !bytes.Equal(first, second) {
		t.Error("two builds of the same inputs differ: the image would get another digest, and pods would roll")
	}
}

func TestMissingProgramLeavesNoArchive(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	err := run([]string{"-ref", "localhost/app:1", "-out", out, "/app=" + out + ".none"})
	if err == nil || !strings.Contains(err.Error(), "read file for /app") {
		t.Errorf("error %v, want one that names the file of the image", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("an archive was left behind: %v", err)
	}
}

func TestBadArgumentsAreExplained(t *testing.T) {
	for _, args := range [][]string{{}, {"-ref", "a:1", "-out", "x"}, {"-ref", "a:1", "-out", "x", "app=./app"}, {"-ref", "a:1", "-out", "x", "/app"}} {
		if err := run(args); err == nil {
			t.Errorf("arguments %q were accepted", args)
		}
	}
}
