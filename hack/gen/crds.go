package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxBytes bounds one CRD as JSON. kubectl apply keeps the whole object in an annotation of at most 262144 bytes.
const maxBytes = 250 * 1000

type crd struct {
	file, plural, kind string
	yaml               []byte
}

// finishCRDs reads controller-gen's CRDs, trims and checks them.
func finishCRDs(folder string) ([]crd, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no CRDs in %s", folder)
	}
	slices.Sort(files)
	var all []crd
	for _, f := range files {
		c, err := finishCRD(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
		all = append(all, c)
	}
	return all, nil
}

func finishCRD(path string) (crd, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return crd{}, err
	}
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return crd{}, err
	}
	if err := trimTemplate(doc); err != nil {
		return crd{}, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return crd{}, err
	}
	if len(text) > maxBytes {
		return crd{}, fmt.Errorf("has %d bytes of JSON, more than %d: kubectl apply would refuse it", len(text), maxBytes)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		return crd{}, err
	}
	name := child(doc, "spec", "names")
	plural, _ := name["plural"].(string)
	kind, _ := name["kind"].(string)
	if plural == "" || kind == "" {
		return crd{}, errors.New("names no kind")
	}
	return crd{file: filepath.Base(path), plural: plural, kind: kind, yaml: append([]byte("---\n"), out...)}, nil
}

// trimTemplate drops every description below spec.template, which repeats Kubernetes' own documentation and would make
// the CRD too large for kubectl apply. It also lets a template leave containers out: the operator adds the worker's.
func trimTemplate(doc map[string]any) error {
	versions, _ := child(doc, "spec")["versions"].([]any)
	if len(versions) == 0 {
		return errors.New("has no versions")
	}
	for _, v := range versions {
		version, _ := v.(map[string]any)
		template := child(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", "template")
		properties := child(template, "properties")
		dropDescriptions(properties)
		if pod := child(properties, "spec"); pod != nil {
			delete(pod, "required")
		}
	}
	return nil
}

// dropDescriptions removes the descriptions of the schemas in node. A property may be called description too, but then
// its value is a schema and not a text.
func dropDescriptions(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, isText := n["description"].(string); isText {
			delete(n, "description")
		}
		for _, v := range n {
			dropDescriptions(v)
		}
	case []any:
		for _, v := range n {
			dropDescriptions(v)
		}
	}
}

// child walks down maps and gives nil when a step is missing.
func child(node map[string]any, path ...string) map[string]any {
	for _, step := range path {
		node, _ = node[step].(map[string]any)
	}
	return node
}

// chartCRD wraps a CRD for Helm, which upgrades CRDs only when they are templates, and removes them unless told not to.
func chartCRD(c crd) []byte {
	body := strings.TrimPrefix(string(c.yaml), "---\n")
	body = escape(body)
	const annotations = "  annotations:\n"
	keep := annotations + "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
	body = strings.Replace(body, annotations, keep, 1)
	return []byte(generated + "{{- if .Values.crds.enabled }}\n" + body + "{{- end }}\n")
}

// escape keeps Helm from reading the text as a template.
func escape(text string) string {
	return strings.ReplaceAll(text, "{{", `{{ "{{" }}`)
}
