package v1alpha1_test

import (
	"context"
	"errors"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A row is one validation rule: what it refuses, and what it accepts right beside that.
type row struct {
	object string
	// from is what the object is before the change, for rules that compare; not used otherwise.
	from []change
	bad  []change
	good []change
	// field and message are what a user reads when bad is refused.
	field, message string
}

var rules = map[string]row{
	// JobPool
	"heartbeat above a third of the threshold": {
		object: jobPool,
		bad:    []change{{"spec.lease.staleThresholdSeconds", 60}, {"spec.lease.heartbeatPeriodSeconds", 21}},
		good:   []change{{"spec.lease.staleThresholdSeconds", 60}, {"spec.lease.heartbeatPeriodSeconds", 20}},
		field:  "spec.lease.heartbeatPeriodSeconds",
		message: "spec.lease.heartbeatPeriodSeconds must be at most a third of spec.lease.staleThresholdSeconds, so that two lost " +
			"beats cost no run: lower it, raise staleThresholdSeconds, or leave it out to get a third",
	},
	"heartbeat above a third of the default threshold": {
		object:  jobPool,
		bad:     []change{{"spec.lease", map[string]any{"heartbeatPeriodSeconds": 21}}},
		good:    []change{{"spec.lease", map[string]any{"heartbeatPeriodSeconds": 20}}},
		field:   "spec.lease.heartbeatPeriodSeconds",
		message: "must be at most a third of spec.lease.staleThresholdSeconds",
	},
	"pool name changed": {
		object: jobPool,
		bad:    []change{{"spec.poolName", "other"}},
		good:   []change{{"spec.concurrency", 11}},
		field:  "spec.poolName",
		message: "spec.poolName cannot change, because queued runs carry it: create another JobPool and point the subscriptions' " +
			"spec.poolRef at it",
	},
	"pool name removed": {
		object: jobPool, bad: []change{{"spec.poolName", nil}}, good: []change{{"spec.replicas", 2}},
		field: "spec.poolName", message: "spec.poolName cannot change",
	},
	"pool name added": {
		object: jobPool, from: []change{{"spec.poolName", nil}},
		bad: []change{{"spec.poolName", "batch"}}, good: []change{{"spec.replicas", 2}},
		field: "spec.poolName", message: "spec.poolName cannot change",
	},
	"grace period in the template": {
		object: jobPool,
		bad:    []change{{"spec.template.spec.terminationGracePeriodSeconds", 60}},
		good:   []change{{"spec.drainTimeoutSeconds", 60}},
		field:  "spec.template.spec.terminationGracePeriodSeconds",
		message: "spec.template.spec.terminationGracePeriodSeconds is derived from spec.drainTimeoutSeconds: leave it out and set " +
			"spec.drainTimeoutSeconds instead",
	},
	"handler of a reserved type": {
		object: jobPool, bad: []change{{"spec.handlers[0].type", "integration.sync"}}, good: []change{{"spec.handlers[0].type", "integrations.sync"}},
		field: "spec.handlers[0].type",
		message: "spec.handlers[].type must not begin with integration., because workers serve such types themselves: give the type " +
			"another name",
	},
	"handlers of one type": {
		object: jobPool,
		bad:    []change{{"spec.handlers", []any{jobHandler("a"), jobHandler("a")}}},
		good:   []change{{"spec.handlers", []any{jobHandler("a"), jobHandler("b")}}},
		field:  "spec.handlers[1]", message: "Duplicate value",
	},
	"handler's URL of another scheme": {
		object: jobPool, bad: []change{{"spec.handlers[0].url", "ftp://host/runs"}}, good: []change{{"spec.handlers[0].url", "https://host/runs"}},
		field: "spec.handlers[0].url",
		message: "spec.handlers[].url must start with https:// or http://: write the whole URL, such as " +
			"http://invoices.shop.svc:8080/runs",
	},
	"handler's URL without a host": {
		object: jobPool, bad: []change{{"spec.handlers[0].url", "http:///runs"}}, good: []change{{"spec.handlers[0].url", "http://[fd00::1]:8080/runs?a=b"}},
		field:   "spec.handlers[0].url",
		message: "spec.handlers[].url is not an absolute URL with a host: write it like http://invoices.shop.svc:8080/runs",
	},
	"handler's URL with a password": {
		object: jobPool, bad: []change{{"spec.handlers[0].url", "http://ann:secret@host"}}, good: []change{{"spec.handlers[0].url", "http://host/@ann"}},
		field: "spec.handlers[0].url",
		message: "spec.handlers[].url must not hold a user name or password, because the resource is not secret: let the endpoint " +
			"check the signature by spec.handlers[].signingSecretRef instead",
	},
	"handler's URL with a fragment": {
		object: jobPool, bad: []change{{"spec.handlers[0].url", "http://host/runs#top"}}, good: []change{{"spec.handlers[0].url", "http://host/runs"}},
		field:   "spec.handlers[0].url",
		message: "spec.handlers[].url must not have a fragment, which no server gets to see: leave out what begins with #",
	},
	"handler's longest delay below the first": {
		object: jobPool,
		bad:    []change{{"spec.handlers[0].retry.initialDelaySeconds", 901}},
		good:   []change{{"spec.handlers[0].retry.initialDelaySeconds", 900}},
		field:  "spec.handlers[0].retry.maxDelaySeconds",
		message: "spec.handlers[].retry.maxDelaySeconds must not be less than initialDelaySeconds: raise it, or lower " +
			"initialDelaySeconds",
	},
	"handler's default longest delay below the first": {
		object:  jobPool,
		bad:     []change{{"spec.handlers[0].retry", map[string]any{"initialDelaySeconds": 901}}},
		good:    []change{{"spec.handlers[0].retry", map[string]any{"initialDelaySeconds": 900}}},
		field:   "spec.handlers[0].retry.maxDelaySeconds",
		message: "spec.handlers[].retry.maxDelaySeconds must not be less than initialDelaySeconds",
	},
	"schema changed": {
		object: jobPool,
		bad:    []change{{"spec.database.schema", "other"}},
		good:   []change{{"spec.database.secretRef.name", "other"}},
		field:  "spec.database.schema",
		message: "spec.database.schema cannot change, because the pool's runs stand in it: create another JobPool with the new schema " +
			"and point the subscriptions' spec.poolRef at it",
	},
	"default schema changed": {
		object: jobPool, from: []change{{"spec.database.schema", nil}},
		bad: []change{{"spec.database.schema", "other"}}, good: []change{{"spec.database.schema", "syncline"}},
		field: "spec.database.schema", message: "spec.database.schema cannot change",
	},
	"reserved schema": {
		object:  jobPool,
		bad:     []change{{"spec.database.schema", "pg_catalog"}},
		good:    []change{{"spec.database.schema", "pgcatalog"}},
		field:   "spec.database.schema",
		message: "spec.database.schema is a name that PostgreSQL reserves for itself: use another one, such as syncline",
	},
	"long pool": {
		object: jobPool,
		bad:    []change{{"metadata.name", strings.Repeat("a", 53)}},
		good:   []change{{"metadata.name", strings.Repeat("a", 52)}},
		message: "metadata.name must have at most 52 characters, because Deployment, ServiceAccount and labels are made from it: choose " +
			"a shorter one; spec.poolName may have 63",
	},

	"start rate of nothing": {
		object: jobPool,
		bad:    []change{{"spec.startRate.startsPerSecond", 0}},
		good:   []change{{"spec.startRate.startsPerSecond", "0.001"}},
		field:  "spec.startRate.startsPerSecond",
		message: "spec.startRate.startsPerSecond must be from 0.001 to 100000: leave startRate out for no limit, or set spec.stopPolicy " +
			"to Hold to start nothing",
	},
	"start rate above what a database can do": {
		object:  jobPool,
		bad:     []change{{"spec.startRate.startsPerSecond", "100001"}},
		good:    []change{{"spec.startRate.startsPerSecond", "100k"}},
		field:   "spec.startRate.startsPerSecond",
		message: "spec.startRate.startsPerSecond must be from 0.001 to 100000",
	},

	// IntegrationConnection
	"provider changed": {
		object: connection,
		bad:    []change{{"spec.provider", "gitea"}},
		good:   []change{{"spec.http.baseURL", "https://other.example.com"}},
		field:  "spec.provider",
		message: "spec.provider cannot change, because rows and events carry it: create another IntegrationConnection and subscribe " +
			"through that one",
	},
	"connection without a kind": {
		object: connection, bad: []change{{"spec.http", nil}}, good: nil,
		field: "spec", message: "exactly one of the fields in [http] must be set",
	},
	"base URL of another scheme": {
		object: connection,
		bad:    []change{{"spec.http.baseURL", "ftp://api.example.com"}},
		good:   []change{{"spec.http.baseURL", "http://api.example.com"}},
		field:  "spec.http.baseURL",
		message: "spec.http.baseURL must start with https:// (or http:// for a server without TLS): write the whole URL, such as " +
			"https://api.example.com/v1",
	},
	"base URL without a host": {
		object:  connection,
		bad:     []change{{"spec.http.baseURL", "https:///v1"}},
		good:    []change{{"spec.http.baseURL", "https://[2001:db8::1]:8443/v1"}},
		field:   "spec.http.baseURL",
		message: "spec.http.baseURL is not an absolute URL with a host: write it like https://api.example.com/v1",
	},
	"base URL with a password": {
		object: connection,
		bad:    []change{{"spec.http.baseURL", "https://me:secret@api.example.com/v1"}},
		good:   []change{{"spec.http.baseURL", "https://api.example.com/@me"}},
		field:  "spec.http.baseURL",
		message: "spec.http.baseURL must not hold a user name or password, because the resource is not secret: put them into a Secret " +
			"and name it in spec.http.auth.basic",
	},
	"base URL with a query": {
		object: connection,
		bad:    []change{{"spec.http.baseURL", "https://api.example.com/v1?a=b"}},
		good:   []change{{"spec.http.baseURL", "https://api.example.com/v1/"}},
		field:  "spec.http.baseURL",
		message: "spec.http.baseURL must not have a query or a fragment: put query parameters into spec.source.http.request.query of " +
			"the IntegrationSubscription",
	},
	"base URL with a fragment": {
		object: connection, bad: []change{{"spec.http.baseURL", "https://api.example.com/v1#a"}}, good: nil,
		field: "spec.http.baseURL", message: "spec.http.baseURL must not have a query or a fragment",
	},
	"two credentials": {
		object:  connection,
		bad:     []change{{"spec.http.auth.bearer.secretRef.name", "api"}},
		good:    []change{{"spec.http.auth", map[string]any{"bearer": map[string]any{"secretRef": map[string]any{"name": "api"}}}}},
		field:   "spec.http.auth",
		message: "exactly one of the fields in [basic bearer] must be set",
	},
	"empty auth": {
		object: connection, bad: []change{{"spec.http.auth", map[string]any{}}}, good: []change{{"spec.http.auth", nil}},
		field: "spec.http.auth", message: "exactly one of the fields in [basic bearer] must be set",
	},
	"rate of nothing": {
		object: connection,
		bad:    []change{{"spec.http.rateLimit.requestsPerSecond", 0}},
		good:   []change{{"spec.http.rateLimit.requestsPerSecond", "0.001"}},
		field:  "spec.http.rateLimit.requestsPerSecond",
		message: "spec.http.rateLimit.requestsPerSecond must be from 0.001 to 10000: leave rateLimit out for no limit, or suspend the " +
			"subscriptions to send nothing",
	},
	"rate too high": {
		object: connection, bad: []change{{"spec.http.rateLimit.requestsPerSecond", "10000.1"}},
		good: []change{{"spec.http.rateLimit.requestsPerSecond", 10000}}, field: "spec.http.rateLimit.requestsPerSecond",
		message: "spec.http.rateLimit.requestsPerSecond must be from 0.001 to 10000",
	},
	"range that is an address": {
		object: connection,
		bad:    []change{{"spec.http.egress.allowedCIDRs", []any{"10.0.0.1"}}},
		good:   []change{{"spec.http.egress.allowedCIDRs", []any{"10.0.0.1/32", "fd00::/8"}}},
		field:  "spec.http.egress.allowedCIDRs[0]",
		message: "spec.http.egress.allowedCIDRs takes address ranges such as 10.96.0.0/12 or fd00::/8: write a single address with /32 " +
			"or /128",
	},

	// IntegrationSubscription
	"entity changed": {
		object: subscription, bad: []change{{"spec.entity", "issue"}}, good: []change{{"spec.poolRef.name", "other"}}, field: "spec.entity",
		message: "spec.entity cannot change, because events and audit rows carry it: create another IntegrationSubscription",
	},
	"connection changed": {
		object: subscription, bad: []change{{"spec.connectionRef.name", "other"}}, good: []change{{"spec.suspend", true}},
		field: "spec.connectionRef.name",
		message: "spec.connectionRef.name cannot change, because the table's rows belong to that connection: create another " +
			"IntegrationSubscription for the other connection",
	},
	"schedule of both kinds": {
		object: subscription, bad: []change{{"spec.schedule.periodSeconds", 60}}, good: []change{{"spec.schedule", nil}},
		field: "spec.schedule", message: "exactly one of the fields in [periodSeconds cron] must be set",
	},
	"period with a time zone": {
		object:  subscription,
		bad:     []change{{"spec.schedule", map[string]any{"periodSeconds": 60, "timeZone": "UTC"}}},
		good:    []change{{"spec.schedule", map[string]any{"periodSeconds": 60}}},
		field:   "spec.schedule.timeZone",
		message: "spec.schedule.timeZone has no meaning with periodSeconds: leave it out, or use cron",
	},
	"cron of six fields": {
		object: subscription,
		bad:    []change{{"spec.schedule.cron", "0 0 3 * * *"}},
		good:   []change{{"spec.schedule.cron", "*/5 8-18 * JAN-DEC MON,fri"}},
		field:  "spec.schedule.cron",
		message: "spec.schedule.cron must have exactly five fields (minute, hour, day, month, weekday), such as " +
			"0 3 * * *: write the time zone into spec.schedule.timeZone, and intervals into spec.schedule.periodSeconds",
	},
	"cron with a time zone": {
		object: subscription, bad: []change{{"spec.schedule.cron", "TZ=UTC 3 * * *"}}, good: nil,
		field: "spec.schedule.cron", message: "spec.schedule.cron must have exactly five fields",
	},
	"cron interval": {
		object: subscription, bad: []change{{"spec.schedule.cron", "@every 1h30m"}}, good: nil,
		field: "spec.schedule.cron", message: "spec.schedule.cron must have exactly five fields",
	},
	"local time zone": {
		object: subscription, bad: []change{{"spec.schedule.timeZone", "Local"}},
		good: []change{{"spec.schedule.timeZone", "America/Argentina/Buenos_Aires"}}, field: "spec.schedule.timeZone",
		message: "spec.schedule.timeZone must be an IANA name such as Europe/Berlin or UTC: a worker has no local time",
	},
	"time zone that climbs": {
		object: subscription, bad: []change{{"spec.schedule.timeZone", "/etc/localtime"}}, good: []change{{"spec.schedule.timeZone", "Etc/GMT+1"}},
		field: "spec.schedule.timeZone", message: "spec.schedule.timeZone must be an IANA name",
	},
	"no source": {
		object: subscription, bad: []change{{"spec.source", map[string]any{}}}, good: nil,
		field: "spec.source", message: "exactly one of the fields in [http] must be set",
	},
	"order without a timestamp": {
		object: subscription,
		bad:    []change{{"spec.source.http.cursor", map[string]any{"token": map[string]any{"from": "next"}}}},
		good: []change{
			{"spec.source.http.cursor", map[string]any{"token": map[string]any{"from": "next"}}},
			{"spec.source.http.order", "None"},
		},
		field: "spec.source.http.order",
		message: "spec.source.http.order Ascending needs spec.source.http.cursor.timestamp, whose field it speaks of: set that cursor, or " +
			"use order None",
	},
	"cursor that is never sent": {
		object: subscription,
		bad:    []change{{"spec.source.http.request.query[1].value", "2026-01-01"}},
		good: []change{
			{"spec.source.http.request.query[1].value", "2026-01-01"},
			{"spec.source.http.request.headers[1]", map[string]any{"name": "If-Modified-Since", "value": "{cursor}"}},
		},
		field: "spec.source.http.cursor",
		message: "spec.source.http.cursor is never sent: put {cursor} into the value of a query parameter or header of " +
			"spec.source.http.request, or leave the cursor out to read everything in every run",
	},
	"placeholder without a cursor": {
		object: subscription,
		bad:    []change{{"spec.source.http.cursor", nil}, {"spec.source.http.order", "None"}},
		good: []change{
			{"spec.source.http.cursor", nil},
			{"spec.source.http.order", "None"},
			{"spec.source.http.request.query[1].value", "x"},
		},
		field:   "spec.source.http.request",
		message: "spec.source.http.request uses {cursor}, but there is no cursor: set spec.source.http.cursor, or take {cursor} out",
	},
	"page that is never sent": {
		object: subscription,
		bad:    []change{{"spec.source.http.request.query[0].value", "1"}},
		good: []change{
			{"spec.source.http.request.query[0].value", "1"},
			{"spec.source.http.request.path", "/tickets/{page}"},
		},
		field: "spec.source.http.pagination.page",
		message: "spec.source.http.pagination.page never sends the page's number, so that every page would be the first: put {page} into " +
			"spec.source.http.request, usually as a query parameter",
	},
	"placeholder without pages": {
		object: subscription,
		bad:    []change{{"spec.source.http.pagination", map[string]any{"linkHeader": map[string]any{}}}},
		good: []change{
			{"spec.source.http.pagination", map[string]any{"linkHeader": map[string]any{}}},
			{"spec.source.http.request.query[0].value", "1"},
			{"spec.source.http.request.headers", nil},
		},
		field: "spec.source.http.request",
		message: "spec.source.http.request uses {page} or {pageSize}, which only spec.source.http.pagination.page fills: set it, or write " +
			"the number itself",
	},
	"page size without pages": {
		object: subscription,
		bad: []change{
			{"spec.source.http.pagination", nil},
			{"spec.source.http.request.query[0].value", "1"},
		},
		good: nil, field: "spec.source.http.request", message: "spec.source.http.request uses {page} or {pageSize}",
	},
	"unknown placeholder in the path": {
		object: subscription,
		bad:    []change{{"spec.source.http.request.path", "/tickets/{cursor}"}},
		good:   []change{{"spec.source.http.request.path", "/tickets/{page}/{pageSize}"}},
		field:  "spec.source.http.request.path",
		message: "spec.source.http.request.path holds a placeholder other than {page} and {pageSize}: fix its name; {cursor} belongs into " +
			"a query parameter or header, which is left out while there is no cursor",
	},
	"unknown placeholder in the query": {
		object:  subscription,
		bad:     []change{{"spec.source.http.request.query[2]", map[string]any{"name": "a", "value": "{curser}"}}},
		good:    []change{{"spec.source.http.request.query[2]", map[string]any{"name": "a", "value": `{"updated":{">":"{cursor}"}}`}}},
		field:   "spec.source.http.request.query[2].value",
		message: "a value in spec.source.http.request.query holds a placeholder other than {cursor}, {page} and {pageSize}: fix its name",
	},
	"unknown placeholder in a header": {
		object:  subscription,
		bad:     []change{{"spec.source.http.request.headers[0].value", "{size}"}},
		good:    []change{{"spec.source.http.request.headers[0].value", "{ size }"}},
		field:   "spec.source.http.request.headers[0].value",
		message: "a value in spec.source.http.request.headers holds a placeholder other than {cursor}, {page} and {pageSize}: fix its name",
	},
	"path without a slash": {
		object: subscription, bad: []change{{"spec.source.http.request.path", "tickets"}},
		good: []change{{"spec.source.http.request.path", "/"}}, field: "spec.source.http.request.path",
		message: "spec.source.http.request.path must start with one slash: the host stands in spec.http.baseURL of the IntegrationConnection",
	},
	"path to another host": {
		object: subscription, bad: []change{{"spec.source.http.request.path", "//evil.example.com/x"}}, good: nil,
		field: "spec.source.http.request.path", message: "spec.source.http.request.path must start with one slash",
	},
	"path with a query": {
		object: subscription, bad: []change{{"spec.source.http.request.path", "/tickets?state=all"}}, good: nil,
		field: "spec.source.http.request.path",
		message: "spec.source.http.request.path must not hold a query or a fragment: put parameters into " +
			"spec.source.http.request.query, where they are encoded",
	},
	"path that climbs": {
		object: subscription, bad: []change{{"spec.source.http.request.path", "/a/../b"}},
		good: []change{{"spec.source.http.request.path", "/a/..b/.c"}}, field: "spec.source.http.request.path",
		message: "spec.source.http.request.path must not hold the steps . or ..: write the path that they lead to",
	},
	"credential in a header": {
		object: subscription, bad: []change{{"spec.source.http.request.headers[0].name", "AUTHORIZATION"}},
		good: []change{{"spec.source.http.request.headers[0].name", "Accept"}}, field: "spec.source.http.request.headers[0].name",
		message: "spec.source.http.request.headers must not carry credentials, because the resource is not secret: use spec.http.auth of " +
			"the IntegrationConnection",
	},
	"header of the client": {
		object: subscription, bad: []change{{"spec.source.http.request.headers[0].name", "Host"}}, good: nil,
		field: "spec.source.http.request.headers[0].name",
		message: "spec.source.http.request.headers must not set what the HTTP client sets itself (host, connection, content-length, " +
			"transfer-encoding, accept-encoding, upgrade, te, trailer): leave it out",
	},
	"pagination of both kinds": {
		object: subscription, bad: []change{{"spec.source.http.pagination.linkHeader", map[string]any{}}}, good: nil,
		field: "spec.source.http.pagination", message: "exactly one of the fields in [page linkHeader] must be set",
	},
	"cursor of both kinds": {
		object: subscription, bad: []change{{"spec.source.http.cursor.token.from", "next"}}, good: nil,
		field: "spec.source.http.cursor", message: "exactly one of the fields in [timestamp token] must be set",
	},
	"page larger than a run": {
		object: subscription, bad: []change{{"spec.source.http.limits.maxRunBytes", 1024}, {"spec.source.http.limits.maxPageBytes", 1025}},
		good:  []change{{"spec.source.http.limits.maxRunBytes", 1024}, {"spec.source.http.limits.maxPageBytes", 1024}},
		field: "spec.source.http.limits.maxPageBytes",
		message: "spec.source.http.limits.maxPageBytes must not be larger than maxRunBytes, because a run holds at least one page: lower " +
			"it or raise maxRunBytes",
	},
	"default page larger than a run": {
		object: subscription, bad: []change{{"spec.source.http.limits", map[string]any{"maxRunBytes": 67108863}}},
		good:  []change{{"spec.source.http.limits", map[string]any{"maxRunBytes": 67108864}}},
		field: "spec.source.http.limits.maxPageBytes", message: "spec.source.http.limits.maxPageBytes must not be larger than maxRunBytes",
	},
	"field of two origins": {
		object: subscription, bad: []change{{"spec.mapping[0].expr", "record.title"}}, good: nil,
		field: "spec.mapping[0]", message: "exactly one of the fields in [from expr] must be set",
	},
	"field of no origin": {
		object: subscription, bad: []change{{"spec.mapping[0].from", nil}}, good: nil,
		field: "spec.mapping[0]", message: "exactly one of the fields in [from expr] must be set",
	},
	"field mapped twice": {
		object: subscription, bad: []change{{"spec.mapping[1].field", "title"}}, good: nil,
		field: "spec.mapping[1]", message: "Duplicate value",
	},
	"field with an unknown history": {
		object: subscription, bad: []change{{"spec.mapping[0].history", "Hashed"}}, good: []change{{"spec.mapping[0].history", "Masked"}},
		field: "spec.mapping[0].history", message: "supported values",
	},
	"header twice": {
		object: subscription, bad: []change{{"spec.source.http.request.headers[1]", map[string]any{"name": "X-Page-Size", "value": "1"}}},
		good:  nil,
		field: "spec.source.http.request.headers[1]", message: "Duplicate value",
	},
	"ignored field that is not mapped": {
		object: subscription, bad: []change{{"spec.sink.diff.ignore", []any{"title", "owner"}}},
		good: []change{{"spec.sink.diff.ignore", []any{"title", "state"}}}, field: "spec.sink.diff.ignore",
		message: "spec.sink.diff.ignore names a field that spec.mapping does not have: add it to spec.mapping or take it out of the list",
	},
	"reserved sink schema": {
		object: subscription, bad: []change{{"spec.sink.schema", "information_schema"}}, good: []change{{"spec.sink.schema", "helpdesk"}},
		field: "spec.sink.schema", message: "spec.sink.schema is a name that PostgreSQL reserves for itself: use another one, such as public",
	},
	"stop ratio of nothing": {
		object: subscription, bad: []change{{"spec.onRecordError.stopRatio", "0.0"}}, good: []change{{"spec.onRecordError.stopRatio", "0.0001"}},
		field: "spec.onRecordError.stopRatio",
		message: "spec.onRecordError.stopRatio must be a decimal above 0 and up to 1 with at most four digits after the point, in quotes, " +
			`such as "0.2": use "1" to never stop a run`,
	},
	"stop ratio above one": {
		object: subscription, bad: []change{{"spec.onRecordError.stopRatio", "1.1"}}, good: []change{{"spec.onRecordError.stopRatio", "1.0"}},
		field: "spec.onRecordError.stopRatio", message: "spec.onRecordError.stopRatio must be a decimal above 0 and up to 1",
	},
	"stop ratio as a percentage": {
		object: subscription, bad: []change{{"spec.onRecordError.stopRatio", "20%"}}, good: []change{{"spec.onRecordError.stopRatio", "1"}},
		field: "spec.onRecordError.stopRatio", message: "spec.onRecordError.stopRatio must be a decimal above 0 and up to 1",
	},
}

// Every table has these columns already, so each of them is a row of its own.
func init() {
	for _, name := range []string{"id", "connection_id", "external_id", "version", "created_at", "updated_at", "deleted_at"} {
		rules["column "+name] = row{
			object: subscription, bad: []change{{"spec.mapping[1].field", name}}, good: []change{{"spec.mapping[1].field", "source_" + name}},
			field: "spec.mapping[1].field",
			message: "spec.mapping has a field with a name that every table has already (id, connection_id, external_id, version, " +
				"created_at, updated_at, deleted_at): call the provider's own value something else, such as source_updated_at",
		}
	}
}

var _ = Describe("validation rule", func() {
	for name, r := range rules {
		It(name, func(ctx context.Context) {
			if isTransition(r) {
				expectTransition(ctx, r)
				return
			}
			Expect(create(ctx, r.object, r.good)).To(Succeed())
			expectRefused(create(ctx, r.object, r.bad), r)
		})
	}
})

// isTransition tells whether a rule compares with what was there before.
func isTransition(r row) bool { return r.from != nil || strings.Contains(r.message, "cannot change") }

func expectTransition(ctx context.Context, r row) {
	GinkgoHelper()
	before := object(r.object, r.from...)
	before.SetNamespace(newNamespace(ctx))
	Expect(api.Create(ctx, before)).To(Succeed())
	update := func(changes []change) error {
		after := before.DeepCopy()
		for _, c := range changes {
			put(after.Object, steps(c.path), clone(c.value))
		}
		return api.Update(ctx, after, client.DryRunAll)
	}
	Expect(update(r.good)).To(Succeed())
	expectRefused(update(r.bad), r)
}

func create(ctx context.Context, text string, changes []change) error {
	GinkgoHelper()
	return api.Create(ctx, object(text, changes...), client.DryRunAll)
}

func expectRefused(err error, r row) {
	GinkgoHelper()
	Expect(apierrors.IsInvalid(err)).To(BeTrue(), "want it refused as invalid, got: %v", err)
	var found []string
	status, ok := errors.AsType[*apierrors.StatusError](err)
	Expect(ok).To(BeTrue())
	for _, c := range status.Status().Details.Causes {
		if strings.Contains(c.Message, r.message) {
			found = append(found, c.Field)
		}
	}
	Expect(found).NotTo(BeEmpty(), "want %q in: %v", r.message, err)
	if r.field != "" {
		Expect(found).To(ContainElement(r.field), "the field that the message is shown at: %v", err)
	}
}
