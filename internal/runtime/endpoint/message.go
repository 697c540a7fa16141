package endpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// message is the body of a request. Durations are in milliseconds from its arrival: an endpoint's clock does not matter.
type message struct {
	Run     int64  `json:"run"`
	Token   int64  `json:"token"`
	Attempt int    `json:"attempt"`
	Type    string `json:"type"`
	Pool    string `json:"pool"`
	Tenant  string `json:"tenant,omitempty"`
	Scope   string `json:"scope,omitempty"`
	Parent  int64  `json:"parent,omitempty"`
	Root    int64  `json:"root"`
	// LeaseLosses is how often a worker died or was cut off while it had posted this run.
	LeaseLosses int               `json:"leaseLosses"`
	Trigger     trigger           `json:"trigger"`
	Tags        map[string]string `json:"tags,omitempty"`
	// TimeoutMillis is what is left of the request, DeadlineMillis of the run; a run without a deadline has none.
	TimeoutMillis  int64           `json:"timeoutMillis"`
	DeadlineMillis *int64          `json:"deadlineMillis,omitempty"`
	Input          json.RawMessage `json:"input"`
	Callback       *callback       `json:"callback,omitempty"`
}

type trigger struct {
	Source string `json:"source"`
	Ref    string `json:"ref,omitempty"`
}

// callback says how to reach the worker-local API.
type callback struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// newMessage is what is posted about a flight; root is the API's, empty when there is none.
func newMessage(f *flight, root string) message {
	c, left := f.claim, f.left(time.Now())
	m := message{
		Run: c.RunID, Token: c.Token, Attempt: c.Attempt, Type: c.Type, Pool: c.Pool, Tenant: c.Tenant, Scope: c.Scope,
		Parent: c.Parent, Root: c.Root, LeaseLosses: c.LeaseLosses, Trigger: trigger{Source: c.TriggerSource, Ref: c.TriggerRef},
		Tags: c.Tags, TimeoutMillis: left.TimeoutMillis, DeadlineMillis: left.DeadlineMillis, Input: c.Input,
	}
	if root != "" {
		m.Callback = &callback{URL: root + "/v1/runs/" + strconv.FormatInt(c.RunID, 10), Token: f.bearer}
	}
	return m
}

// request is the signed POST of a flight. Its webhook-id is the same for a claim and for nothing else, so that it tells
// a request that arrives twice from the next attempt.
func request(f *flight, url, root string, signers []*standardwebhooks.Webhook) (*http.Request, error) {
	body, err := json.Marshal(newMessage(f, root))
	if err != nil {
		return nil, fmt.Errorf("encode the run: %w", err)
	}
	r, err := http.NewRequestWithContext(f.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	id, at := fmt.Sprintf("%d-%d", f.claim.RunID, f.claim.Token), time.Now()
	signatures := make([]string, len(signers))
	for i, s := range signers {
		if signatures[i], err = s.Sign(id, at, body); err != nil {
			return nil, fmt.Errorf("sign the request: %w", err)
		}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "syncline")
	r.Header.Set(standardwebhooks.HeaderWebhookID, id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return r, nil
}
