// Command mkimage packs static programs into a one-layer OCI image archive without a container engine. The image is
// what the Dockerfile builds from scratch: no shell, no package manager, a CA bundle, an unprivileged user.
//
//	mkimage -ref localhost/syncline:dev -out syncline.tar -ca /etc/ssl/certs/ca-certificates.crt \
//	    -entrypoint /worker /manager=./manager /worker=./worker
//
// The archive is the same byte for byte whenever its inputs are, so that an unchanged image keeps its digest.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	spec, out, err := parse(args)
	if err != nil {
		return err
	}
	archive, err := spec.archive()
	if err != nil {
		return err
	}
	// Written beside and renamed, so that a full disk or an interrupt never leaves half an archive to import.
	temporary := out + ".tmp"
	if err := os.WriteFile(temporary, archive, 0o644); err != nil {
		return errors.Join(fmt.Errorf("write image archive: %w", err), os.Remove(temporary))
	}
	return os.Rename(temporary, out)
}

func parse(args []string) (image, string, error) {
	flags := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	ref := flags.String("ref", "", "the image's name and tag")
	out := flags.String("out", "", "the archive to write")
	user := flags.String("user", "65532:65532", "numeric user and group that the image runs as")
	ca := flags.String("ca", "", "CA bundle to put at /etc/ssl/certs/ca-certificates.crt; empty leaves it out")
	entrypoint := flags.String("entrypoint", "", "path of the program to start; empty is the first one")
	if err := flags.Parse(args); err != nil {
		return image{}, "", err
	}
	if *ref == "" || *out == "" || flags.NArg() == 0 {
		return image{}, "", errors.New("usage: mkimage -ref NAME:TAG -out ARCHIVE [-user U:G] [-ca BUNDLE] [-entrypoint PATH] PATH=PROGRAM")
	}
	spec := image{ref: *ref, user: *user, entrypoint: *entrypoint}
	if *ca != "" {
		spec.files = append(spec.files, file{path: "/etc/ssl/certs/ca-certificates.crt", source: *ca, mode: 0o644})
	}
	for _, a := range flags.Args() {
		path, source, ok := strings.Cut(a, "=")
		if !ok || !strings.HasPrefix(path, "/") {
			return image{}, "", fmt.Errorf("argument %q: want /PATH/IN/IMAGE=PROGRAM", a)
		}
		if spec.entrypoint == "" {
			spec.entrypoint = path
		}
		spec.files = append(spec.files, file{path: path, source: source, mode: 0o755})
	}
	return spec, *out, nil
}
