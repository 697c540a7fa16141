package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Epilogue are chapters for the suite alone: what a person would not sit through, or what takes the flow away.
func (s *Story) Epilogue() []Step {
	return []Step{
		{"tuning", "The pool is tuned while it runs", s.retune},
		{"custom-worker", "Jobs of one's own: a pool with a custom worker image", s.customWorker},
		{"handlers", "Jobs served over HTTP: a pool with handlers and an endpoint behind a Service", s.handlers},
		{"limits", "That pool's limits, stops and handlers change while it runs", s.limits},
		{"worker-pods", "Worker pods hold no rights, in the cluster or on the node", s.inspectWorkers},
		{"namespace", "The namespace is deleted with everything in it", s.deleteNamespace},
		{"uninstall", "The operator is uninstalled, definitions and data stay", s.uninstall},
	}
}

// pods is what the epilogue reads of the worker pods.
type pods struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			Volumes []struct {
				Name      string `json:"name"`
				Projected *struct {
					Sources []map[string]any `json:"sources"`
				} `json:"projected"`
			} `json:"volumes"`
		} `json:"spec"`
		podShape
	} `json:"items"`
}

// inspectWorkers looks at the running pods, not at the template: the namespace already refuses pods that Pod Security's
// restricted level does not allow.
func (s *Story) inspectWorkers(ctx context.Context) error {
	list, err := lab.Get[pods](ctx, s.env, "pods", "--namespace", namespace, "--selector", "syncline.dev/pool="+pool)
	if err != nil {
		return err
	}
	if len(list.Items) != 2 {
		return fmt.Errorf("%d worker pods, want 2", len(list.Items))
	}
	for _, p := range list.Items {
		for _, v := range p.Spec.Volumes {
			if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(m map[string]any) bool { return m["serviceAccountToken"] != nil }) {
				return fmt.Errorf("pod %s has a token of the Kubernetes API in volume %s", p.Metadata.Name, v.Name)
			}
		}
		if err := s.inspectProcess(ctx, p.Metadata.Name, p.Status.ContainerStatuses[0].ContainerID); err != nil {
			return err
		}
		_, err := s.env.Run(ctx, "kubectl", "exec", "--namespace", namespace, p.Metadata.Name, "--", "/bin/sh", "-c", "true")
		if err == nil || !strings.Contains(err.Error(), "no such file") {
			return fmt.Errorf("a shell in pod %s: %w, want that there is none", p.Metadata.Name, err)
		}
	}
	return nil
}

// inspectProcess reads what the kernel says of a container's process: user, capabilities, new privileges, seccomp.
func (s *Story) inspectProcess(ctx context.Context, pod, container string) error {
	pid, err := s.process(ctx, strings.TrimPrefix(container, "containerd://"))
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return fmt.Errorf("look at the process of pod %s: %w", pod, err)
	}
	for field, want := range map[string]string{
		"Uid": "65532 65532 65532 65532", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got := procField(string(status), field); got != want {
			return fmt.Errorf("process of pod %s has %s %q, want %q", pod, field, got, want)
		}
	}
	return nil
}

func procField(status, field string) string {
	for line := range strings.Lines(status) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// deleteNamespace takes secrets, pool, connection and subscription away in whatever order Kubernetes likes: nothing may
// hang, and the user's table stays.
func (s *Story) deleteNamespace(ctx context.Context) error {
	err := s.console.During("kubectl delete namespace "+namespace, func() error {
		_, err := s.env.Run(ctx, "kubectl", "delete", "namespace", namespace, "--wait", "--timeout=2m")
		return err
	})
	if err != nil {
		return err
	}
	rows, err := s.count(ctx, `SELECT count(*) FROM public.tickets`)
	if err != nil {
		return err
	}
	items, err := s.count(ctx, `SELECT count(*) FROM syncline.sync_item`)
	if err == nil && (rows != Records || items != s.ledger.changes()) {
		err = fmt.Errorf("%d rows and %d audit items are left, want all %d and %d", rows, items, Records, s.ledger.changes())
	}
	return err
}

func (s *Story) uninstall(ctx context.Context) error {
	err := s.console.During("helm uninstall", func() error {
		_, err := s.env.Run(ctx, "helm", "uninstall", "syncline", "--namespace", system, "--wait", "--timeout", "2m")
		return err
	})
	if err != nil {
		return err
	}
	out, err := s.env.Run(ctx, "kubectl", "get", "crds", "-o", "name")
	if n := strings.Count(out, ".syncline.dev"); err == nil && n != 3 {
		err = errors.New("the custom resource definitions went with the operator, and with them every resource: " + out)
	}
	return err
}
