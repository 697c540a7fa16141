// Package kubetest starts a real kube-apiserver with etcd for tests and installs the CRDs. Suites of the API, of the
// controllers and of the chart call it from their BeforeSuite or TestMain; nothing else does.
//
// No controllers run there: a Deployment gets no pods and nothing is garbage collected unless the test plays that part.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/syncline-dev/syncline/internal/loopback"
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
	ports  []*loopback.Port // of etcd and the API server
}

// patience is how long a component may take to start or to stop, and the CRDs to be served: longer than any machine needs.
const patience = 3 * time.Minute

// Start starts an API server and installs the CRDs of config/crd/bases, unless bare is true. The caller stops it.
func Start(ctx context.Context, bare bool) (*Cluster, error) {
	assets, err := Assets(ctx)
	if err != nil {
		return nil, err
	}
	c, err := prepare(assets)
	if err != nil {
		return nil, err
	}
	if !bare {
		c.install()
	}
	return c, c.start()
}

// prepare makes a cluster that can be started, on ports of its own.
func prepare(assets string) (*Cluster, error) {
	c := &Cluster{env: &envtest.Environment{
		BinaryAssetsDirectory: assets, ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience,
	}}
	for range 2 {
		port, err := loopback.Reserve()
		if err != nil {
			return nil, errors.Join(err, c.release())
		}
		c.ports = append(c.ports, port)
	}
	// envtest looks for free ports as well, but lets them go until the servers are up.
	plane := &c.env.ControlPlane
	plane.Etcd = &envtest.Etcd{URL: &url.URL{Scheme: "http", Host: c.ports[0].Address()}}
	plane.Etcd.Configure().Set("listen-peer-urls", "http://127.0.0.1:0")
	api := plane.GetAPIServer()
	api.Address, api.Port, _ = strings.Cut(c.ports[1].Address(), ":")
	return c, nil
}

// install has the CRDs of config/crd/bases installed at the start.
func (c *Cluster) install() {
	c.env.CRDDirectoryPaths, c.env.ErrorIfCRDPathMissing = []string{filepath.Join(Root(), "config", "crd", "bases")}, true
	c.env.CRDInstallOptions.MaxTime = patience
}

func (c *Cluster) start() (err error) {
	if c.Config, err = c.env.Start(); err != nil {
		return errors.Join(fmt.Errorf("start kube-apiserver of %s: %w", c.env.BinaryAssetsDirectory, err), c.Stop())
	}
	return nil
}

// Stop stops the API server and removes its data.
func (c *Cluster) Stop() error { return errors.Join(c.env.Stop(), c.release()) }

// release gives the ports back.
func (c *Cluster) release() (err error) {
	for _, p := range c.ports {
		err = errors.Join(err, p.Release())
	}
	return err
}
