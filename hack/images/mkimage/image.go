package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// file is one file of the image, taken from the machine.
type file struct {
	path, source string
	mode         fs.FileMode
}

// image says what the archive holds.
type image struct {
	ref, user, entrypoint string
	files                 []file
}

// Media types of the OCI image specification, version 1.
const (
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	configType   = "application/vnd.oci.image.config.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// passwd and group name the unprivileged user, for programs that look themselves up.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// descriptor points at a blob by its digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	Manifests     []descriptor `json:"manifests"`
}

type config struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       runConfig `json:"config"`
	RootFS       rootFS    `json:"rootfs"`
}

type runConfig struct {
	User       string
	Entrypoint []string
	WorkingDir string
	Env        []string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// archive builds the whole archive in memory: the layer is not compressed, because it is imported on the same machine.
func (i image) archive() ([]byte, error) {
	layer, err := i.layer()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := &writer{tar: tar.NewWriter(&out)}
	layerAt := w.blob(layerType, layer)
	configAt := w.blob(configType, w.json(config{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: runConfig{
			User: i.user, Entrypoint: []string{i.entrypoint}, WorkingDir: "/",
			Env: []string{"PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		},
		RootFS: rootFS{Type: "layers", DiffIDs: []string{layerAt.Digest}},
	}))
	manifestAt := w.blob(manifestType, w.json(manifest{
		SchemaVersion: 2, MediaType: manifestType, Config: configAt, Layers: []descriptor{layerAt},
	}))
	manifestAt.Annotations = map[string]string{"io.containerd.image.name": i.ref}
	w.file("oci-layout", 0o644, w.json(map[string]string{"imageLayoutVersion": "1.0.0"}))
	w.file("index.json", 0o644, w.json(index{SchemaVersion: 2, Manifests: []descriptor{manifestAt}}))
	return out.Bytes(), w.close()
}

// layer is the image's file system.
func (i image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := &writer{tar: tar.NewWriter(&out)}
	w.folder("tmp", 0o1777)
	w.folders("etc/ssl/certs")
	w.folders("home/nonroot")
	w.file("etc/passwd", 0o644, []byte(passwd))
	w.file("etc/group", 0o644, []byte(group))
	for _, f := range i.files {
		data, err := os.ReadFile(f.source)
		if err != nil {
			return nil, fmt.Errorf("read file for %s: %w", f.path, err)
		}
		name := strings.TrimPrefix(f.path, "/")
		w.folders(path.Dir(name))
		w.file(name, f.mode, data)
	}
	return out.Bytes(), w.close()
}

// writer writes a tar with neither times nor owners; after the first error it writes nothing more.
type writer struct {
	tar  *tar.Writer
	done []string
	err  error
}

func (w *writer) file(name string, mode fs.FileMode, data []byte) {
	w.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(data))}, data)
}

func (w *writer) folder(name string, mode int64) {
	w.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

// folders makes every folder on the way to name that is not there yet.
func (w *writer) folders(name string) {
	if name == "." || slices.Contains(w.done, name) {
		return
	}
	w.folders(path.Dir(name))
	w.folder(name, 0o755)
	w.done = append(w.done, name)
}

func (w *writer) entry(h *tar.Header, data []byte) {
	if w.err == nil {
		w.err = w.tar.WriteHeader(h)
	}
	if w.err == nil {
		_, w.err = w.tar.Write(data)
	}
}

func (w *writer) blob(mediaType string, data []byte) descriptor {
	digest := fmt.Sprintf("%x", sha256.Sum256(data))
	w.file("blobs/sha256/"+digest, 0o644, data)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(data)}
}

func (w *writer) json(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	return data
}

func (w *writer) close() error {
	if w.err != nil {
		return fmt.Errorf("write archive: %w", w.err)
	}
	return w.tar.Close()
}
