package kubetest

import (
	"context"
	_ "embed" // what simulated nodes do
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodeName is the one simulated node.
const nodeName = "simulated"

//go:embed stages.yaml
var stages []byte

// Simulated is a cluster whose controllers are real and whose one node is simulated: Deployments get pods that are
// scheduled and become ready, but no container runs. Owners, namespaces and ServiceAccounts work as anywhere.
type Simulated struct {
	*Cluster
	dir       string
	processes []*component
}

// Simulate starts an API server with the CRDs, kube-controller-manager, kube-scheduler and kwok, and waits until pods
// can be made. The caller stops it.
func Simulate(ctx context.Context) (s *Simulated, err error) {
	assets, err := Assets(ctx)
	if err != nil {
		return nil, err
	}
	c, err := prepare(assets)
	if err != nil {
		return nil, err
	}
	c.install()
	// envtest switches the admission of ServiceAccounts off, for want of a controller that makes them. Here there is one.
	c.env.ControlPlane.GetAPIServer().Configure().Disable("disable-admission-plugins")
	if err := c.start(); err != nil {
		return nil, err
	}
	s = &Simulated{Cluster: c}
	if err := s.populate(ctx, assets); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// populate starts the components beside the API server and makes the node.
func (s *Simulated) populate(ctx context.Context, assets string) (err error) {
	if s.dir, err = os.MkdirTemp("", "simulated"); err != nil {
		return fmt.Errorf("make a folder for the cluster: %w", err)
	}
	kubeconfig, stageFile := filepath.Join(s.dir, "kubeconfig"), filepath.Join(s.dir, "stages.yaml")
	if err := errors.Join(os.WriteFile(kubeconfig, s.env.KubeConfig, 0o600), os.WriteFile(stageFile, stages, 0o600)); err != nil {
		return err
	}
	certs := s.env.ControlPlane.GetAPIServer().CertDir
	for _, args := range [][]string{
		{
			"kube-controller-manager", "--kubeconfig", kubeconfig, "--leader-elect=false", "--secure-port=0",
			"--root-ca-file", filepath.Join(certs, "apiserver.crt"),
			"--service-account-private-key-file", filepath.Join(certs, "sa-signer.key"),
		},
		{"kube-scheduler", "--kubeconfig", kubeconfig, "--leader-elect=false", "--secure-port=0"},
		{"kwok", "--kubeconfig", kubeconfig, "--manage-all-nodes", "--node-lease-duration-seconds", "40", "--config", stageFile},
	} {
		c, err := startComponent(context.WithoutCancel(ctx), filepath.Join(assets, args[0]), filepath.Join(s.dir, args[0]+".log"), args[1:])
		if err != nil {
			return err
		}
		s.processes = append(s.processes, c)
	}
	return s.awaitNode(ctx)
}

// awaitNode makes the node and waits until pods can be scheduled on it and namespaces have their ServiceAccounts.
func (s *Simulated) awaitNode(ctx context.Context) error {
	api, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := api.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the simulated node: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ready, err := usable(ctx, api)
		if ready || err != nil {
			return err
		}
		if c := s.ended(); c != nil {
			return fmt.Errorf("%s has ended: see %s", filepath.Base(c.cmd.Path), c.log)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the simulated node is not usable: see the logs in %s: %w", s.dir, ctx.Err())
		case <-tick.C:
		}
	}
}

func usable(ctx context.Context, api kubernetes.Interface) (bool, error) {
	node, err := api.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("read the simulated node: %w", err)
	}
	_, err = api.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read the default service account: %w", err)
	}
	return err == nil && len(node.Status.Conditions) > 0 && len(node.Spec.Taints) == 0, nil
}

// ended is a component that is no longer there, nil while all are.
func (s *Simulated) ended() *component {
	for _, c := range s.processes {
		select {
		case <-c.done:
			return c
		default:
		}
	}
	return nil
}

// Stop stops everything and removes its data.
func (s *Simulated) Stop() error {
	for _, c := range s.processes {
		c.stop()
	}
	return errors.Join(s.Cluster.Stop(), os.RemoveAll(s.dir))
}

// component is one process of the control plane.
type component struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startComponent starts a process that dies with this one. The kernel watches the thread that started it, so a goroutine
// stays on that thread until the process ends.
func startComponent(ctx context.Context, path, log string, args []string) (*component, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("make a log file: %w", err)
	}
	c := &component{cmd: exec.CommandContext(ctx, path, args...), log: log, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended says nothing: it is killed
		}
		_ = out.Close()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	return c, nil
}

func (c *component) stop() {
	_ = c.cmd.Process.Kill() // it may have ended already
	<-c.done
}
