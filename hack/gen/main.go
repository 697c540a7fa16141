// Command gen finishes what controller-gen and others began: it trims the CRDs, guards their size, writes the roles
// for people and the reference in docs/, and copies CRDs and rules into the Helm chart, so that Go types and config/ stay
// the only sources.
//
// It is run by generate.sh and only reads and writes files of the checkout.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen <folder with controller-gen's CRDs> <root of the checkout>")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(raw, root string) error {
	crds, err := finishCRDs(raw)
	if err != nil {
		return err
	}
	for _, c := range crds {
		if err := write(filepath.Join(root, "config/crd/bases", c.file), c.yaml); err != nil {
			return err
		}
		if err := write(filepath.Join(root, "charts/syncline/templates/crds", c.file), chartCRD(c)); err != nil {
			return err
		}
	}
	if err := writeUserRoles(root, crds); err != nil {
		return err
	}
	if err := copyRoles(root); err != nil {
		return err
	}
	return writeReference(root, crds)
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder of %s: %w", path, err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
