package spec

// Subscription is one entity of one connection: where it comes from, how it is mapped and where it goes.
type Subscription struct {
	Version int `json:"version"`
	// Entity names events and audit rows: lower-case snake case.
	Entity   string    `json:"entity"`
	Schedule *Schedule `json:"schedule,omitempty"`
	Source   Source    `json:"source"`
	// Tombstone is a CEL predicate over record; true means the record is deleted upstream. Empty: never.
	Tombstone string `json:"tombstone,omitempty"`
	// Filter is a CEL predicate over record; false leaves the record out. Empty: every record passes.
	Filter      string        `json:"filter,omitempty"`
	Mapping     []Field       `json:"mapping"`
	Sink        Sink          `json:"sink"`
	EmitChanges bool          `json:"emitChanges,omitempty"`
	OnError     OnRecordError `json:"onRecordError"`
	// AuditRetentionSeconds is how long runs and items are kept.
	AuditRetentionSeconds int64 `json:"auditRetentionSeconds"`
}

// Schedule says when a subscription runs; exactly one of PeriodSeconds and Cron is set.
type Schedule struct {
	PeriodSeconds int64  `json:"periodSeconds,omitempty"`
	Cron          string `json:"cron,omitempty"`
	// TimeZone is an IANA name; empty is UTC. Only with Cron.
	TimeZone string `json:"timeZone,omitempty"`
}

// Source is where records come from; exactly one member is set.
type Source struct {
	HTTP *HTTPSource `json:"http,omitempty"`
}

// HTTPSource reads records from an HTTP API page by page.
type HTTPSource struct {
	Request Request `json:"request"`
	// Records selects the list in a page: a dotted path, or CEL over body; empty is the body itself.
	Records string `json:"records,omitempty"`
	// ID is CEL over record that gives the external id, a string or an integer.
	ID         string     `json:"id"`
	Pagination Pagination `json:"pagination"`
	Cursor     *Cursor    `json:"cursor,omitempty"`
	// Order is what the source promises about the cursor field: only Ascending may checkpoint in the middle of a walk,
	// and it is checked at run time. Where the upstream can sort by that field, Ascending is the safer choice.
	Order Order `json:"order"`
	// Limits bound one run.
	Limits Limits `json:"limits"`
}

// Order is the order of records by the cursor field.
type Order string

const (
	// OrderNone promises nothing; the cursor moves when the walk is drained, and not past the time at which it began.
	OrderNone Order = "None"
	// OrderAscending promises that the cursor field never decreases along a walk, that every record has it, and that
	// {cursor} is an inclusive lower bound of it: a walk goes on by asking from the newest time that it has seen.
	OrderAscending Order = "Ascending"
)

// Request is the template of a GET. Values may hold the placeholders {cursor}, {page} and {pageSize}, encoded for the
// place they stand in. A query parameter or header that names {cursor} is left out while there is no cursor.
type Request struct {
	Path    string      `json:"path"`
	Query   []NameValue `json:"query,omitempty"`
	Headers []NameValue `json:"headers,omitempty"`
}

// NameValue is one query parameter or header.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Pagination says how the next page is found; at most one member is set, none is a single page.
type Pagination struct {
	Page       *PagePagination `json:"page,omitempty"`
	LinkHeader *LinkHeader     `json:"linkHeader,omitempty"`
}

// PagePagination counts pages: {page} runs from First; the walk ends at the first page without records, since servers cap
// the size of a page silently.
type PagePagination struct {
	// First is the number of the first page, 0 or 1.
	First int `json:"first"`
	// Size is the number of records asked for, as {pageSize}; the upstream may give fewer.
	Size int `json:"size"`
}

// LinkHeader follows rel="next" of the Link header (RFC 8288), on the base URL's origin only.
type LinkHeader struct{}

// Cursor says what moves from run to run; exactly one member is set.
type Cursor struct {
	Timestamp *TimestampCursor `json:"timestamp,omitempty"`
	Token     *TokenCursor     `json:"token,omitempty"`
}

// TimestampFormat is how a timestamp cursor is written into a request and read from a record.
type TimestampFormat string

const (
	// FormatRFC3339 is 2006-01-02T15:04:05Z with as many fractional digits as are not zero.
	FormatRFC3339 TimestampFormat = "RFC3339"
	// FormatSpaced is 2006-01-02 15:04:05.000Z, a blank instead of the T and always milliseconds.
	FormatSpaced TimestampFormat = "Spaced"
	// FormatUnixSeconds is whole seconds since 1970.
	FormatUnixSeconds TimestampFormat = "UnixSeconds"
	// FormatUnixMillis is whole milliseconds since 1970.
	FormatUnixMillis TimestampFormat = "UnixMilliseconds"
	// FormatDate is 2006-01-02.
	FormatDate TimestampFormat = "Date"
)

// TimestampCursor moves with the newest value of a record's field.
type TimestampCursor struct {
	// From is the dotted path of the field in a record.
	From   string          `json:"from"`
	Format TimestampFormat `json:"format"`
	// LookbackSeconds is subtracted from the stored cursor before it is sent: records committed late upstream are seen again, for free.
	LookbackSeconds int64 `json:"lookbackSeconds,omitempty"`
	// SettleSeconds keeps the stored cursor at least this far behind the answer's Date header (or the database's clock),
	// and covers the difference between that clock and the one that writes the field.
	SettleSeconds int64 `json:"settleSeconds,omitempty"`
}

// TokenCursor is an opaque token, valid once the walk is drained.
type TokenCursor struct {
	// From is the dotted path of the token in the body; the last one that a walk meets counts.
	From string `json:"from"`
}

// Limits bound one run of a source. Each is at least 1.
type Limits struct {
	// MaxPages is the number of pages of a run. Pages read again because the list moved do not count.
	MaxPages int `json:"maxPages"`
	// MaxPageBytes is the size of a page after decompression, in bytes. It also bounds the names and values of the page,
	// one for each 16 bytes, because each takes memory however short it is.
	MaxPageBytes int64 `json:"maxPageBytes"`
	// MaxRunBytes is the size of all pages of a run after decompression, in bytes. Pages read again because the list
	// moved have the same bound once more.
	MaxRunBytes int64 `json:"maxRunBytes"`
}

// DefaultLimits are 10 000 pages, 64 MiB a page and 10 GiB a run.
func DefaultLimits() Limits {
	return Limits{MaxPages: 10_000, MaxPageBytes: 64 << 20, MaxRunBytes: 10 << 30}
}

// FieldType is a PostgreSQL column type that a field can have.
type FieldType string

// The column types; nothing goes through a binary floating-point number.
const (
	Text        FieldType = "text"
	Boolean     FieldType = "boolean"
	BigInt      FieldType = "bigint"
	Numeric     FieldType = "numeric"
	TimestampTZ FieldType = "timestamptz"
	Date        FieldType = "date"
	UUID        FieldType = "uuid"
	JSONB       FieldType = "jsonb"
)

// Field is one mapped column; exactly one of From and Expr is set.
type Field struct {
	// Name is the column.
	Name string `json:"name"`
	// From is a dotted path into the record; a missing step is null.
	From string `json:"from,omitempty"`
	// Expr is CEL over record.
	Expr string    `json:"expr,omitempty"`
	Type FieldType `json:"type"`
	// History says what is told of a change of this field; empty tells its values.
	History FieldHistory `json:"history,omitempty"`
}

// FieldHistory says what the audit and change events tell of a change of a field.
type FieldHistory string

const (
	// Masked tells that the field changed, and whether there was a value.
	Masked FieldHistory = "Masked"
	// Omitted tells nothing.
	Omitted FieldHistory = "Omitted"
)

// SinkManagement says who makes the table.
type SinkManagement string

const (
	// Managed creates the table and adds missing columns.
	Managed SinkManagement = "Managed"
	// Existing uses the table as it is and reports what does not fit.
	Existing SinkManagement = "Existing"
)

// DeleteMode says what a delete upstream does to the row.
type DeleteMode string

const (
	// SoftDelete sets deleted_at.
	SoftDelete DeleteMode = "Soft"
	// HardDelete removes the row.
	HardDelete DeleteMode = "Hard"
	// IgnoreDelete leaves the row as it is.
	IgnoreDelete DeleteMode = "Ignore"
)

// Sink is the table that receives the records.
type Sink struct {
	Schema     string         `json:"schema"`
	Table      string         `json:"table"`
	Management SinkManagement `json:"management"`
	Delete     DeleteMode     `json:"delete"`
	// DiffIgnore lists fields whose change alone is no change: they are written with the next real one.
	DiffIgnore []string `json:"diffIgnore,omitempty"`
}

// OnRecordError says when a bad record is set aside and when a run stops.
type OnRecordError struct {
	// QuarantineAfter is the number of failed tries after which a record is set aside; at least 1.
	QuarantineAfter int `json:"quarantineAfter"`
	// StopRatio is the share of bad records, a decimal in (0, 1], above which a run stops and holds its cursor.
	StopRatio string `json:"stopRatio"`
}
