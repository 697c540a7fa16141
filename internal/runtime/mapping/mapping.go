// Package mapping turns decoded JSON records into typed column values: dotted paths and CEL expressions, evaluated
// with exact numbers, and the values they are compared and written as.
//
// It is pure: it reads no clock, no network and no database. The HTTP source decodes bodies with it, the orchestrator
// applies a compiled Program to each record and diffs Values, the controllers call Compile for what a status reports.
package mapping
