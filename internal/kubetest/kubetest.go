// Package kubetest starts a real kube-apiserver with etcd for tests and installs the CRDs. Suites of the API, of the
// controllers and of the chart call it from their BeforeSuite or TestMain; nothing else does.
//
// No controllers run there: a Deployment gets no pods and nothing is garbage collected unless the test plays that part.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Root is the root folder of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Assets is the folder with etcd, kube-apiserver and kubectl: $KUBEBUILDER_ASSETS, or the one that hack/tools.sh
// builds, which takes minutes when the cache is cold and an instant otherwise.
func Assets(ctx context.Context) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(Root(), "hack", "tools.sh"), "test")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build kube-apiserver and etcd with hack/tools.sh test (or set KUBEBUILDER_ASSETS to a folder that has them): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Cluster is a running kube-apiserver.
type Cluster struct {
	// Config connects as an administrator.
	Config *rest.Config
	env    *envtest.Environment
}

// Start starts an API server and installs the CRDs of config/crd/bases, unless bare is true. The caller stops it.
func Start(ctx context.Context, bare bool) (*Cluster, error) {
	assets, err := Assets(ctx)
	if err != nil {
		return nil, err
	}
	env := &envtest.Environment{BinaryAssetsDirectory: assets, DownloadBinaryAssets: false}
	if !bare {
		env.CRDDirectoryPaths = []string{filepath.Join(Root(), "config", "crd", "bases")}
		env.ErrorIfCRDPathMissing = true
	}
	config, err := env.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start kube-apiserver of %s: %w", assets, err), env.Stop())
	}
	return &Cluster{Config: config, env: env}, nil
}

// Stop stops the API server and removes its data.
func (c *Cluster) Stop() error { return c.env.Stop() }
