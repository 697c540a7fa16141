// Package spec holds what the control plane tells the data plane: the versioned JSON documents stored in the rows
// of pools, connections and subscriptions.
//
// The controllers translate custom resources into these types and write them; workers read them. The types know
// nothing of Kubernetes and execute nothing. A document carries the version it was written with; a reader refuses a
// version it does not know, so that an old worker never half-understands a newer document.
package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Version is the version of every document this build writes, and the newest it reads.
const Version = 1

// Decode reads one document strictly: an unknown field or a newer version is an error that says so.
func Decode[T Pool | Connection | Subscription](data []byte) (T, error) {
	var head struct {
		Version int `json:"version"`
	}
	var doc T
	if err := json.Unmarshal(data, &head); err != nil {
		return doc, fmt.Errorf("read document: %w", err)
	}
	if head.Version < 1 || head.Version > Version {
		return doc, fmt.Errorf("document has version %d, this build reads 1 to %d: update this process", head.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return doc, fmt.Errorf("read document: %w", err)
	}
	return doc, nil
}
