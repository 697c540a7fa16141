package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The objects that rows start from. Each uses as many fields as can be set at once.
const (
	jobPool = `
apiVersion: syncline.dev/v1alpha1
kind: JobPool
metadata: {name: batch}
spec:
  database: {secretRef: {name: db, key: uri}, schema: syncline}
  poolName: batch
  replicas: 1
  concurrency: 10
  claim: {pollPeriodSeconds: 1, wakeMode: Notify}
  lease: {staleThresholdSeconds: 86400, heartbeatPeriodSeconds: 20, sweepPeriodSeconds: 15}
  drainTimeoutSeconds: 30
  stopPolicy: None
  handlers:
  - type: invoice
    url: http://invoices.shop.svc:8080/runs
    signingSecretRef: {name: invoices, key: signing-secret}
    timeoutSeconds: 30
    retry: {maxAttempts: 5, backoff: Exponential, initialDelaySeconds: 1, maxDelaySeconds: 900}
  template: {metadata: {labels: {team: a}}, spec: {nodeSelector: {disk: ssd}}}
`
	connection = `
apiVersion: syncline.dev/v1alpha1
kind: IntegrationConnection
metadata: {name: helpdesk}
spec:
  provider: pocketbase
  http:
    baseURL: https://api.example.com/v1
    auth: {basic: {secretRef: {name: api, usernameKey: username, passwordKey: password}}}
    rateLimit: {requestsPerSecond: 8, burst: 16}
    requestTimeoutSeconds: 30
    egress: {allowedCIDRs: [10.0.0.0/8]}
`
	subscription = `
apiVersion: syncline.dev/v1alpha1
kind: IntegrationSubscription
metadata: {name: tickets}
spec:
  poolRef: {name: batch}
  connectionRef: {name: helpdesk}
  entity: ticket
  schedule: {cron: 0 3 * * *, timeZone: Europe/Berlin}
  source:
    http:
      request:
        path: /tickets
        query:
        - {name: page, value: "{page}"}
        - {name: since, value: "{cursor}"}
        headers:
        - {name: X-Page-Size, value: "{pageSize}"}
      records: data.items
      id: record.id
      pagination: {page: {first: 1, size: 100}}
      cursor: {timestamp: {from: updated_at, format: RFC3339, lookbackSeconds: 120, settleSeconds: 5}}
      order: Ascending
      limits: {maxPages: 10, maxPageBytes: 1024, maxRunBytes: 1099511627776}
  deletes: {tombstone: has(record.deleted_at)}
  filter: "!has(record.pull_request)"
  mapping:
  - {field: title, from: title, type: text}
  - {field: state, expr: record.state, type: text}
  sink: {schema: public, table: tickets, management: Managed, delete: Soft, diff: {ignore: [title]}}
  emitChanges: true
  onRecordError: {quarantineAfter: 1, stopRatio: "0.2"}
  audit: {retentionSeconds: 7776000}
  suspend: false
  deletionPolicy: Retain
`
)

// A change sets the field at a path such as spec.mapping[0].type, or removes it when the value is nil.
type change struct {
	path  string
	value any
}

// object parses one of the objects above and changes it.
func object(text string, changes ...change) *unstructured.Unstructured {
	GinkgoHelper()
	o := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(text), &o.Object)).To(Succeed())
	o.SetNamespace("default")
	for _, c := range changes {
		put(o.Object, steps(c.path), clone(c.value))
	}
	return o
}

// clone keeps rows that share a value from changing it for each other.
func clone(value any) any {
	GinkgoHelper()
	data, err := json.Marshal(value)
	Expect(err).NotTo(HaveOccurred())
	var out any
	Expect(json.Unmarshal(data, &out)).To(Succeed())
	return out
}

// steps splits spec.mapping[0].type into spec, mapping, 0 and type.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) })
}

// put sets a value below node, making maps on the way, and gives the node, which is another one when a list grew.
func put(node any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	if i, err := strconv.Atoi(path[0]); err == nil {
		list, _ := node.([]any)
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i] = put(list[i], path[1:], value)
		return list
	}
	m, ok := node.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	if child := put(m[path[0]], path[1:], value); child == nil {
		delete(m, path[0])
	} else {
		m[path[0]] = child
	}
	return m
}

// fill is a list of n values made from a format with one verb for the number.
func fill(n int, format string) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return list
}

// jobHandler is a handler of a type.
func jobHandler(name string) map[string]any {
	return map[string]any{"type": name, "url": "http://a", "signingSecretRef": map[string]any{"name": "a"}}
}

// jobHandlers are n of them.
func jobHandlers(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = jobHandler(fmt.Sprintf("type%d", i))
	}
	return list
}
