package v1alpha1_test

import (
	"regexp"
	"strings"
)

// A bound is what the schema says about one field alone: values at its edges, and values just beyond.
type bound struct {
	kind, path string
	with       []change
	good, bad  []any
}

func (b bound) object() string {
	return map[string]string{"JobPool": jobPool, "IntegrationConnection": connection, "IntegrationSubscription": subscription}[b.kind]
}

// long is a text of n letters.
func long(n int) string { return strings.Repeat("a", n) }

// The changes that make room for a field of a union.
var (
	bearer    = []change{{"spec.http.auth", map[string]any{"bearer": map[string]any{"secretRef": map[string]any{"name": "api"}}}}}
	perSecond = []change{{"spec.startRate.startsPerSecond", 1}}
	period    = []change{{"spec.schedule", nil}}
	tokens    = []change{{"spec.source.http.cursor", nil}, {"spec.source.http.order", "None"}}
	noDiff    = []change{{"spec.sink.diff", nil}}
)

var bounds = []bound{
	{"JobPool", "spec.database.secretRef.name", nil, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"JobPool", "spec.database.secretRef.key", nil, []any{"a", long(253), "db.uri_1-A", nil}, []any{"", long(254), "a/b"}},
	{"JobPool", "spec.database.schema", nil, []any{"a", long(48), "_a1", nil}, []any{"", long(49), "A", "1a", "a-b"}},
	{"JobPool", "spec.poolName", nil, []any{"a", long(63), "a.b-c_d", nil}, []any{"", long(64), "A", "-a", "a-"}},
	{"JobPool", "spec.replicas", nil, []any{0, 1000, nil}, []any{-1, 1001, "1"}},
	{"JobPool", "spec.concurrency", nil, []any{1, 1000, nil}, []any{0, 1001}},
	{"JobPool", "spec.claim.pollPeriodSeconds", nil, []any{1, 300, nil}, []any{0, 301}},
	{"JobPool", "spec.claim.wakeMode", nil, []any{"Notify", "Poll", nil}, []any{"notify", "Listen"}},
	{"JobPool", "spec.lease.staleThresholdSeconds", []change{{"spec.lease.heartbeatPeriodSeconds", nil}}, []any{10, 86400, nil}, []any{9, 86401}},
	{"JobPool", "spec.lease.heartbeatPeriodSeconds", nil, []any{1, 28800, nil}, []any{0, 28801}},
	{"JobPool", "spec.lease.sweepPeriodSeconds", nil, []any{1, 3600, nil}, []any{0, 3601}},
	{"JobPool", "spec.drainTimeoutSeconds", nil, []any{1, 86400, nil}, []any{0, 86401}},
	{"JobPool", "spec.stopPolicy", nil, []any{"None", "Hold", "HoldAndDrain", nil}, []any{"Drain", "hold"}},
	{"JobPool", "spec.maxRunning", nil, []any{0, 100000, nil}, []any{-1, 100001}},
	{"JobPool", "spec.startRate.startsPerSecond", nil, []any{1, 8, "0.5", "2k"}, []any{"", "fast", nil}},
	{"JobPool", "spec.startRate.burst", perSecond, []any{1, 100000, nil}, []any{0, 100001}},
	{"JobPool", "spec.fairness", nil, []any{"None", "Tenant", nil}, []any{"tenant", "Priority"}},
	{"JobPool", "spec.retention.completedSeconds", nil, []any{60, 315360000, nil}, []any{59, 315360001}},
	{"JobPool", "spec.retention.failedSeconds", nil, []any{60, 315360000, nil}, []any{59, 315360001}},
	{"JobPool", "spec.handlers", nil, []any{jobHandlers(64), nil}, []any{jobHandlers(65), []any{}}},
	{"JobPool", "spec.handlers[0].type", nil, []any{"a", long(100), "A.b_c-d/e"}, []any{"", long(101), ".a", "a.", "a b", nil}},
	{"JobPool", "spec.handlers[0].url", nil, []any{"http://a", "https://" + long(1016)}, []any{"", "https://" + long(1017), nil}},
	{"JobPool", "spec.handlers[0].signingSecretRef.name", nil, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"JobPool", "spec.handlers[0].signingSecretRef.key", nil, []any{"a", long(253), nil}, []any{"", long(254), "a/b"}},
	{"JobPool", "spec.handlers[0].timeoutSeconds", nil, []any{1, 86400, nil}, []any{0, 86401}},
	// An empty one is filled by the defaults.
	{"JobPool", "spec.handlers[0].retry", nil, []any{map[string]any{"maxAttempts": 1}, map[string]any{}, nil}, nil},
	{"JobPool", "spec.handlers[0].retry.maxAttempts", nil, []any{1, 100, nil}, []any{0, 101}},
	{"JobPool", "spec.handlers[0].retry.backoff", nil, []any{"Exponential", "Fixed", nil}, []any{"fixed", "Linear"}},
	{"JobPool", "spec.handlers[0].retry.initialDelaySeconds", []change{{"spec.handlers[0].retry.maxDelaySeconds", 86400}}, []any{1, 86400, nil}, []any{0, 86401}},
	{"JobPool", "spec.handlers[0].retry.maxDelaySeconds", nil, []any{1, 86400, nil}, []any{0, 86401}},

	{"IntegrationConnection", "spec.provider", nil, []any{"a", long(63), "git-hub2"}, []any{"", long(64), "GitHub", "-a", "a_b", nil}},
	{"IntegrationConnection", "spec.http.baseURL", nil, []any{"http://a", "https://" + long(1016)}, []any{"", "https://" + long(1017), nil}},
	{"IntegrationConnection", "spec.http.auth.basic.secretRef.name", nil, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"IntegrationConnection", "spec.http.auth.basic.secretRef.usernameKey", nil, []any{"a", long(253), nil}, []any{"", long(254), "a b"}},
	{"IntegrationConnection", "spec.http.auth.basic.secretRef.passwordKey", nil, []any{"a", long(253), nil}, []any{"", long(254), "a b"}},
	{"IntegrationConnection", "spec.http.auth.bearer.secretRef.name", bearer, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"IntegrationConnection", "spec.http.auth.bearer.secretRef.key", bearer, []any{"a", long(253), nil}, []any{"", long(254), "a b"}},
	{"IntegrationConnection", "spec.http.rateLimit.burst", nil, []any{1, 10000, nil}, []any{0, 10001}},
	{"IntegrationConnection", "spec.http.requestTimeoutSeconds", nil, []any{1, 600, nil}, []any{0, 601}},
	{
		"IntegrationConnection", "spec.http.egress.allowedCIDRs", nil,
		[]any{[]any{"::/0"}, fill(64, "10.0.%d.0/24")},
		[]any{[]any{}, fill(65, "10.0.%d.0/24"), nil, []any{"::/0", "::/0"}},
	},
	{"IntegrationConnection", "spec.http.egress.allowedCIDRs[0]", nil, []any{"1111:2222:3333:4444:5555:6666:7777:8888/128"}, []any{"", long(44)}},

	{"IntegrationSubscription", "spec.poolRef.name", nil, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"IntegrationSubscription", "spec.connectionRef.name", nil, []any{"a", long(253)}, []any{"", long(254), nil}},
	{"IntegrationSubscription", "spec.entity", nil, []any{"a", long(48), "sub_task2"}, []any{"", long(49), "Ticket", "2a", "a-b", nil}},
	{"IntegrationSubscription", "spec.schedule.periodSeconds", period, []any{1, 2592000}, []any{0, 2592001}},
	{"IntegrationSubscription", "spec.schedule.cron", nil, []any{"* * * * *", "* * * * " + long(120)}, []any{"", "* * * *", "* * * * " + long(121)}},
	{"IntegrationSubscription", "spec.schedule.timeZone", nil, []any{"UTC", long(64), nil}, []any{"", long(65)}},
	{"IntegrationSubscription", "spec.source.http.request.path", nil, []any{"/", "/" + long(1023)}, []any{"", "/" + long(1024), nil}},
	{"IntegrationSubscription", "spec.source.http.request.query", nil, []any{parameters(32)}, []any{parameters(33), []any{}}},
	{"IntegrationSubscription", "spec.source.http.request.query[0].name", nil, []any{"a", long(128), "filter[a]"}, []any{"", long(129), nil}},
	{"IntegrationSubscription", "spec.source.http.request.query[1].value", nil, []any{"{cursor}", "{cursor}" + long(1016)}, []any{"{cursor}" + long(1017), nil}},
	{"IntegrationSubscription", "spec.source.http.request.headers", nil, []any{headers(16), nil}, []any{headers(17), []any{}}},
	{"IntegrationSubscription", "spec.source.http.request.headers[0].name", nil, []any{"a", long(128)}, []any{"", long(129), "a b", "a:b", nil}},
	{"IntegrationSubscription", "spec.source.http.request.headers[0].value", nil, []any{"a", long(1024), "a b"}, []any{"", long(1025), "a\r\nb", "ä", nil}},
	{"IntegrationSubscription", "spec.source.http.records", nil, []any{"a", long(1024), nil}, []any{"", long(1025)}},
	{"IntegrationSubscription", "spec.source.http.id", nil, []any{"a", long(1024)}, []any{"", long(1025), nil}},
	{"IntegrationSubscription", "spec.source.http.pagination.page.first", nil, []any{0, 1, nil}, []any{-1, 2}},
	{"IntegrationSubscription", "spec.source.http.pagination.page.size", nil, []any{1, 10000}, []any{0, 10001, nil}},
	{"IntegrationSubscription", "spec.source.http.cursor.timestamp.from", nil, []any{"a", "a.b", long(253)}, []any{"", long(254), ".a", "a.", "a..b", nil}},
	{
		"IntegrationSubscription", "spec.source.http.cursor.timestamp.format", nil,
		[]any{"RFC3339", "Spaced", "UnixSeconds", "UnixMilliseconds", "Date", nil},
		[]any{"rfc3339"},
	},
	{"IntegrationSubscription", "spec.source.http.cursor.timestamp.lookbackSeconds", nil, []any{0, 604800, nil}, []any{-1, 604801}},
	{"IntegrationSubscription", "spec.source.http.cursor.timestamp.settleSeconds", nil, []any{0, 3600, nil}, []any{-1, 3601}},
	{"IntegrationSubscription", "spec.source.http.cursor.token.from", tokens, []any{"a", "a.b", long(253)}, []any{"", long(254), ".a"}},
	{"IntegrationSubscription", "spec.source.http.order", nil, []any{"None", "Ascending", nil}, []any{"asc"}},
	{"IntegrationSubscription", "spec.source.http.limits.maxPages", nil, []any{1, 1000000, nil}, []any{0, 1000001}},
	{"IntegrationSubscription", "spec.source.http.limits.maxPageBytes", nil, []any{1024, 1 << 30, nil}, []any{1023, 1<<30 + 1}},
	{"IntegrationSubscription", "spec.source.http.limits.maxRunBytes", nil, []any{1024, 1 << 40, nil}, []any{1023, 1<<40 + 1}},
	{"IntegrationSubscription", "spec.deletes.tombstone", nil, []any{"a", long(4096)}, []any{"", long(4097)}},
	{"IntegrationSubscription", "spec.filter", nil, []any{"a", long(4096), nil}, []any{"", long(4097)}},
	{"IntegrationSubscription", "spec.mapping", noDiff, []any{fields(1), fields(200)}, []any{fields(201), []any{}, nil}},
	{"IntegrationSubscription", "spec.mapping[1].field", nil, []any{"a", long(63), "_a1"}, []any{"", long(64), "A", "1a", "a-b", nil}},
	{"IntegrationSubscription", "spec.mapping[0].from", nil, []any{"a", "a.b", long(253)}, []any{"", long(254), "a."}},
	{"IntegrationSubscription", "spec.mapping[1].expr", nil, []any{"a", long(4096)}, []any{"", long(4097)}},
	{
		"IntegrationSubscription", "spec.mapping[0].type", nil,
		[]any{"text", "boolean", "bigint", "numeric", "timestamptz", "date", "uuid", "jsonb"},
		[]any{"int", "float8", nil},
	},
	{"IntegrationSubscription", "spec.mapping[0].history", nil, []any{"Values", "Masked", "Omitted", nil}, []any{"masked"}},
	{"IntegrationSubscription", "spec.sink.schema", nil, []any{"a", long(63), nil}, []any{"", long(64), "A"}},
	{"IntegrationSubscription", "spec.sink.table", nil, []any{"a", long(63)}, []any{"", long(64), "A", nil}},
	{"IntegrationSubscription", "spec.sink.management", nil, []any{"Managed", "Existing", nil}, []any{"managed"}},
	{"IntegrationSubscription", "spec.sink.delete", nil, []any{"Soft", "Hard", "Ignore", nil}, []any{"soft"}},
	{
		"IntegrationSubscription", "spec.sink.diff.ignore",
		[]change{{"spec.mapping", fields(65)}},
		[]any{fill(64, "f%d")},
		[]any{fill(65, "f%d"), []any{}, nil, []any{"f1", "f1"}},
	},
	{"IntegrationSubscription", "spec.sink.diff.ignore[0]", nil, []any{"title"}, []any{"", long(64)}},
	{"IntegrationSubscription", "spec.onRecordError.quarantineAfter", nil, []any{1, 100, nil}, []any{0, 101}},
	{"IntegrationSubscription", "spec.onRecordError.stopRatio", nil, []any{"1", "1.0000", "0.25", nil}, []any{"", "0.00001", 1}},
	{"IntegrationSubscription", "spec.audit.retentionSeconds", nil, []any{3600, 315360000}, []any{3599, 315360001}},
	{"IntegrationSubscription", "spec.deletionPolicy", nil, []any{"Retain", "Delete", nil}, []any{"Orphan"}},
}

// boundPaths are the paths of all bounds in the form that walk gives.
func boundPaths() []string {
	index := regexp.MustCompile(`\[\d+\]`)
	var all []string
	for _, b := range bounds {
		all = append(all, b.kind+"."+index.ReplaceAllString(b.path, "[]"))
	}
	return all
}

// parameters is a query of n parameters, page and cursor among them.
func parameters(n int) []any {
	list := []any{map[string]any{"name": "p", "value": "{page}"}, map[string]any{"name": "c", "value": "{cursor}"}}
	for range n - len(list) {
		list = append(list, map[string]any{"name": "a", "value": ""})
	}
	return list
}

func headers(n int) []any {
	list := fill(n, "h%d")
	for i, name := range list {
		list[i] = map[string]any{"name": name, "value": "v"}
	}
	return list
}

func fields(n int) []any {
	list := fill(n, "f%d")
	for i, name := range list {
		list[i] = map[string]any{"field": name, "from": "a", "type": "text"}
	}
	return list
}
