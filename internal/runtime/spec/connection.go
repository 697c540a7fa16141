package spec

// Connection is one account at one provider. It holds no secret: credentials are sealed in a column of their own.
type Connection struct {
	Version  int    `json:"version"`
	Provider string `json:"provider"`
	HTTP     *HTTP  `json:"http,omitempty"`
}

// AuthKind says which credential a request carries.
type AuthKind string

const (
	// AuthNone sends no credential.
	AuthNone AuthKind = "None"
	// AuthBasic sends user name and password.
	AuthBasic AuthKind = "Basic"
	// AuthBearer sends a bearer token.
	AuthBearer AuthKind = "Bearer"
)

// HTTP says how to talk to an HTTP API.
type HTTP struct {
	// BaseURL is joined with the request's path, not resolved against it; its origin pins every link.
	BaseURL string   `json:"baseURL"`
	Auth    AuthKind `json:"auth"`
	// MilliRequestsPerSecond is the rate limit in thousandths of a request per second; 0 is no limit.
	MilliRequestsPerSecond int64 `json:"milliRequestsPerSecond,omitempty"`
	// Burst is the number of requests that may go out at once; at least 1 when a rate is set.
	Burst int `json:"burst,omitempty"`
	// TimeoutMillis bounds one request from dial to the last byte of its answer.
	TimeoutMillis int64 `json:"timeoutMillis"`
	// AllowedCIDRs lists private or otherwise reserved ranges that requests may reach; all of them are refused unless listed.
	AllowedCIDRs []string `json:"allowedCIDRs,omitempty"`
}

// Credential is what a connection's sealed column holds, as JSON, before sealing.
type Credential struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
}

// CredentialColumn is the column name that goes into the associated data of a sealed credential, beside the connection's id.
const CredentialColumn = "credential"
