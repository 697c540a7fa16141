package v1alpha1

// RecordOrder is what a source promises about the order of its records.
// +kubebuilder:validation:Enum=None;Ascending
type RecordOrder string

const (
	// RecordOrderNone promises nothing: the cursor moves when all pages were read.
	RecordOrderNone RecordOrder = "None"
	// RecordOrderAscending promises that the cursor's field never decreases along the pages; it is checked at run time.
	RecordOrderAscending RecordOrder = "Ascending"
)

// TimestampFormat is how a timestamp cursor is read from a record and written into a request.
// +kubebuilder:validation:Enum=RFC3339;Spaced;UnixSeconds;UnixMilliseconds;Date
type TimestampFormat string

const (
	// TimestampFormatRFC3339 is 2006-01-02T15:04:05Z, with as many fractional digits as are needed.
	TimestampFormatRFC3339 TimestampFormat = "RFC3339"
	// TimestampFormatSpaced is 2006-01-02 15:04:05.000Z: a blank instead of the T, and always milliseconds.
	TimestampFormatSpaced TimestampFormat = "Spaced"
	// TimestampFormatUnixSeconds is whole seconds since 1970.
	TimestampFormatUnixSeconds TimestampFormat = "UnixSeconds"
	// TimestampFormatUnixMilliseconds is whole milliseconds since 1970.
	TimestampFormatUnixMilliseconds TimestampFormat = "UnixMilliseconds"
	// TimestampFormatDate is 2006-01-02.
	TimestampFormatDate TimestampFormat = "Date"
)

// HTTPSource reads records from an HTTP API page by page.
//
// +kubebuilder:validation:XValidation:rule="!has(self.order) || self.order != 'Ascending' || (has(self.cursor) && has(self.cursor.timestamp))",fieldPath=".order",reason=FieldValueInvalid,message="spec.source.http.order Ascending needs spec.source.http.cursor.timestamp, whose field it speaks of: set that cursor, or use order None"
// +kubebuilder:validation:XValidation:rule="!has(self.cursor) || (has(self.request.query) && self.request.query.exists(q, q.value.contains('{cursor}'))) || (has(self.request.headers) && self.request.headers.exists(h, h.value.contains('{cursor}')))",fieldPath=".cursor",reason=FieldValueInvalid,message="spec.source.http.cursor is never sent: put {cursor} into the value of a query parameter or header of spec.source.http.request, or leave the cursor out to read everything in every run"
// +kubebuilder:validation:XValidation:rule="has(self.cursor) || !((has(self.request.query) && self.request.query.exists(q, q.value.contains('{cursor}'))) || (has(self.request.headers) && self.request.headers.exists(h, h.value.contains('{cursor}'))))",fieldPath=".request",reason=FieldValueInvalid,message="spec.source.http.request uses {cursor}, but there is no cursor: set spec.source.http.cursor, or take {cursor} out"
// +kubebuilder:validation:XValidation:rule="!has(self.pagination) || !has(self.pagination.page) || self.request.path.contains('{page}') || (has(self.request.query) && self.request.query.exists(q, q.value.contains('{page}'))) || (has(self.request.headers) && self.request.headers.exists(h, h.value.contains('{page}')))",fieldPath=".pagination.page",reason=FieldValueInvalid,message="spec.source.http.pagination.page never sends the page's number, so that every page would be the first: put {page} into spec.source.http.request, usually as a query parameter"
// +kubebuilder:validation:XValidation:rule="(has(self.pagination) && has(self.pagination.page)) || !(self.request.path.matches('[{]page(Size)?[}]') || (has(self.request.query) && self.request.query.exists(q, q.value.matches('[{]page(Size)?[}]'))) || (has(self.request.headers) && self.request.headers.exists(h, h.value.matches('[{]page(Size)?[}]'))))",fieldPath=".request",reason=FieldValueInvalid,message="spec.source.http.request uses {page} or {pageSize}, which only spec.source.http.pagination.page fills: set it, or write the number itself"
type HTTPSource struct {
	// request is the template of the GET that reads one page.
	// +required
	Request HTTPRequest `json:"request,omitzero"`

	// records selects the list of records in a page: a dotted path such as data.items, or a CEL expression over body.
	// Without it the page itself is the list.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Records string `json:"records,omitempty"`

	// id is a CEL expression over record that gives the record's id at the provider, a string or an integer. Example:
	// record.id
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	ID string `json:"id,omitempty"`

	// pagination says how the next page is found; without it there is a single page.
	// +optional
	Pagination *Pagination `json:"pagination,omitempty"`

	// cursor says what is remembered from run to run, so that a run reads only what changed; without it every run reads
	// everything, which is correct but slower.
	// +optional
	Cursor *Cursor `json:"cursor,omitempty"`

	// order is what the source promises about its records: Ascending means that the cursor's field never decreases along
	// the pages, which lets a run that is cut short keep what it read and is checked at run time; None promises nothing,
	// and the cursor moves when all pages were read.
	// +optional
	// +default="None"
	Order RecordOrder `json:"order,omitempty"`

	// limits bound one run, against answers that never end.
	// +optional
	// +default={"maxPages":10000}
	Limits SourceLimits `json:"limits,omitzero"`
}

// HTTPRequest is the template of a GET. Values may hold the placeholders {cursor}, {page} and {pageSize}; they are
// encoded for the place where they stand.
//
// +kubebuilder:validation:XValidation:rule=`!self.path.replace("{page}", "").replace("{pageSize}", "").matches("[{][A-Za-z]+[}]")`,fieldPath=".path",reason=FieldValueInvalid,message="spec.source.http.request.path holds a placeholder other than {page} and {pageSize}: fix its name; {cursor} belongs into a query parameter or header, which is left out while there is no cursor"
type HTTPRequest struct {
	// path is appended to the connection's baseURL. It starts with a slash.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !self.startsWith('//')",reason=FieldValueInvalid,message="spec.source.http.request.path must start with one slash: the host stands in spec.http.baseURL of the IntegrationConnection"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",reason=FieldValueForbidden,message="spec.source.http.request.path must not hold a query or a fragment: put parameters into spec.source.http.request.query, where they are encoded"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|/)[.][.]?(/|$)')",reason=FieldValueInvalid,message="spec.source.http.request.path must not hold the steps . or ..: write the path that they lead to"
	Path string `json:"path,omitempty"`

	// query lists the parameters of the query, in order, at most 32. A parameter whose value holds {cursor} is left out
	// while there is no cursor yet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Query []QueryParameter `json:"query,omitempty"`

	// headers lists request headers besides the ones that Syncline and spec.http.auth set, at most 16. A header whose
	// value holds {cursor} is left out while there is no cursor yet.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Headers []RequestHeader `json:"headers,omitempty"`
}

// QueryParameter is one parameter of a query.
type QueryParameter struct {
	// name is the parameter's name, before encoding.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`

	// value is the parameter's value, before encoding; it may be empty. It may hold placeholders.
	// +required
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.replace('{cursor}', '').replace('{page}', '').replace('{pageSize}', '').matches('[{][A-Za-z]+[}]')",reason=FieldValueInvalid,message="a value in spec.source.http.request.query holds a placeholder other than {cursor}, {page} and {pageSize}: fix its name"
	Value *string `json:"value,omitempty"`
}

// RequestHeader is one header of a request.
type RequestHeader struct {
	// name is the header's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9!#$%&'*+.^_|~-]+$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie'])",reason=FieldValueForbidden,message="spec.source.http.request.headers must not carry credentials, because the resource is not secret: use spec.http.auth of the IntegrationConnection"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['host', 'connection', 'content-length', 'transfer-encoding', 'accept-encoding', 'upgrade', 'te', 'trailer'])",reason=FieldValueForbidden,message="spec.source.http.request.headers must not set what the HTTP client sets itself (host, connection, content-length, transfer-encoding, accept-encoding, upgrade, te, trailer): leave it out"
	Name string `json:"name,omitempty"`

	// value is the header's value in printable ASCII. It may hold placeholders.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[\x20-\x7E]*$`
	// +kubebuilder:validation:XValidation:rule="!self.replace('{cursor}', '').replace('{page}', '').replace('{pageSize}', '').matches('[{][A-Za-z]+[}]')",reason=FieldValueInvalid,message="a value in spec.source.http.request.headers holds a placeholder other than {cursor}, {page} and {pageSize}: fix its name"
	Value string `json:"value,omitempty"`
}

// Pagination says how the next page is found. Exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=page;linkHeader
type Pagination struct {
	// page counts pages: {page} starts with first and grows by one; the first page without records ends the walk.
	// +optional
	Page *PagePagination `json:"page,omitempty"`

	// linkHeader follows rel="next" of the Link header (RFC 8288), on the origin of the connection's baseURL only.
	// +optional
	LinkHeader *LinkHeaderPagination `json:"linkHeader,omitempty"`
}

// PagePagination counts pages.
type PagePagination struct {
	// first is the number of the first page, 0 or 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1
	First *int32 `json:"first,omitempty"`

	// size is the number of records to ask for, as {pageSize}, 1 to 10000. The provider may give fewer.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Size int32 `json:"size,omitempty"`
}

// LinkHeaderPagination follows the Link header; it has nothing to set.
type LinkHeaderPagination struct{}

// Cursor says what is remembered from run to run. Exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=timestamp;token
type Cursor struct {
	// timestamp remembers the newest value of a record's field.
	// +optional
	Timestamp *TimestampCursor `json:"timestamp,omitempty"`

	// token remembers an opaque token that the last page holds, such as a sync token or a sequence number.
	// +optional
	Token *TokenCursor `json:"token,omitempty"`
}

// TimestampCursor moves with the newest value of a record's field.
type TimestampCursor struct {
	// from is the dotted path of the field in a record, such as updated_at.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^.]+([.][^.]+)*$`
	From string `json:"from,omitempty"`

	// format is how the field and {cursor} are written: RFC3339 (2006-01-02T15:04:05Z), Spaced
	// (2006-01-02 15:04:05.000Z), UnixSeconds, UnixMilliseconds or Date (2006-01-02).
	// +optional
	// +default="RFC3339"
	Format TimestampFormat `json:"format,omitempty"`

	// lookbackSeconds is subtracted from the cursor before it is sent, in seconds, 0 to 604800 (seven days), so that
	// records that the provider committed late are seen again; records seen twice change nothing.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	LookbackSeconds *int32 `json:"lookbackSeconds,omitempty"`

	// settleSeconds keeps the cursor at least this far behind the provider's clock, in seconds, 0 to 3600, so that a
	// record written within the same instant as the last one seen is not missed.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	SettleSeconds *int32 `json:"settleSeconds,omitempty"`
}

// TokenCursor is an opaque token that is valid once all pages were read.
type TokenCursor struct {
	// from is the dotted path of the token in the body of the last page, such as last_seq.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^.]+([.][^.]+)*$`
	From string `json:"from,omitempty"`
}

// SourceLimits bound one run. A run that meets one of them ends with an error that names it.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxPageBytes) || !has(self.maxRunBytes) || self.maxPageBytes <= self.maxRunBytes",fieldPath=".maxPageBytes",reason=FieldValueInvalid,message="spec.source.http.limits.maxPageBytes must not be larger than maxRunBytes, because a run holds at least one page: lower it or raise maxRunBytes"
type SourceLimits struct {
	// maxPages is the number of pages of a run, 1 to 1000000.
	// +optional
	// +default=10000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxPages int32 `json:"maxPages,omitempty"`

	// maxPageBytes is the size of one page after decompression, in bytes, 1024 to 1073741824 (1 GiB). A page also holds
	// at most one name or value for each 16 of these bytes.
	// +optional
	// +default=67108864
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=1073741824
	MaxPageBytes int64 `json:"maxPageBytes,omitempty"`

	// maxRunBytes is the size of all pages of a run after decompression, in bytes, 1024 to 1099511627776 (1 TiB).
	// +optional
	// +default=10737418240
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=1099511627776
	MaxRunBytes int64 `json:"maxRunBytes,omitempty"`
}
