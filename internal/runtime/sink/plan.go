package sink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Plan is what must be done before a subscription can write its table. When there are problems nothing is executed.
type Plan struct {
	// Statements create the table or add columns; empty when it fits.
	Statements []string
	Problems   []Problem
}

// catalogNames are the names that the catalog gives to the types of fields and system columns.
var catalogNames = map[string]string{"timestamptz": "timestamp with time zone"}

// catalogName is how format_type writes a type.
func catalogName(typ string) string {
	if name, ok := catalogNames[typ]; ok {
		return name
	}
	return typ
}

// fits says whether a column of the found type takes and gives back every value of the wanted type unchanged. A type
// modifier that rounds (numeric(10,2), timestamptz(3)) does not: the row would differ from its record for ever.
func fits(wanted, found string) bool {
	return found == catalogName(wanted) || (wanted == string(spec.Text) && found == "character varying")
}

// NewPlan compares a subscription with the table that stands there. It is pure.
func NewPlan(sub spec.Subscription, t Table) Plan {
	if problems := checkNames(sub, t); len(problems) > 0 {
		return Plan{Problems: problems}
	}
	if !t.Exists() {
		return planCreate(sub, t)
	}
	return planExisting(sub, t)
}

// checkNames refuses what no table could make right.
func checkNames(sub spec.Subscription, t Table) []Problem {
	var problems []Problem
	s := sub.Sink
	if t.EngineSchema || s.Schema == "information_schema" || strings.HasPrefix(s.Schema, "pg_") {
		problems = append(problems, problemf(s, "", "schema %s is not for sinks: choose another schema", Quote(s.Schema)))
	}
	for _, f := range sub.Mapping {
		if Reserved(f.Name) {
			problems = append(problems, problemf(s, f.Name,
				"field %q has the name of a column that Syncline writes itself: name it differently, for instance source_%s", f.Name, f.Name))
		}
	}
	return problems
}

func planCreate(sub spec.Subscription, t Table) Plan {
	s := sub.Sink
	switch {
	case s.Management != spec.Managed:
		return refuse(problemf(s, "", "table %s does not exist: create it, or set management: Managed", Name(s)))
	case !t.SchemaExists && !t.MayCreateSchema:
		return refuse(problemf(s, "",
			"schema %s does not exist and the role may not create it: CREATE SCHEMA %s, then GRANT USAGE, CREATE ON SCHEMA %s to the role of the pool",
			Quote(s.Schema), Quote(s.Schema), Quote(s.Schema)))
	case t.SchemaExists && (!t.MayCreateTable || !t.MayUseSchema):
		return refuse(problemf(s, "", "table %s cannot be created: GRANT USAGE, CREATE ON SCHEMA %s to the role of the pool", Name(s), Quote(s.Schema)))
	}
	var plan Plan
	if !t.SchemaExists {
		plan.Statements = append(plan.Statements, "CREATE SCHEMA IF NOT EXISTS "+Quote(s.Schema))
	}
	plan.Statements = append(plan.Statements, createTable(sub))
	return plan
}

func refuse(p Problem) Plan { return Plan{Problems: []Problem{p}} }

func createTable(sub spec.Subscription) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE %s (\n", Name(sub.Sink))
	for _, c := range systemColumns[:headColumns] {
		b.WriteString(definition(c))
	}
	for _, f := range sub.Mapping {
		fmt.Fprintf(&b, "  %s %s,\n", Quote(f.Name), f.Type)
	}
	for _, c := range systemColumns[headColumns:] {
		b.WriteString(definition(c))
	}
	b.WriteString("  PRIMARY KEY (id),\n  UNIQUE (connection_id, external_id)\n)")
	return b.String()
}

func definition(c column) string {
	if c.notNull {
		return fmt.Sprintf("  %s %s NOT NULL,\n", c.name, c.typ)
	}
	return fmt.Sprintf("  %s %s,\n", c.name, c.typ)
}

func planExisting(sub spec.Subscription, t Table) Plan {
	s := sub.Sink
	if t.Kind != "r" && t.Kind != "p" {
		return refuse(problemf(s, "", "%s is not a table: choose another name", Name(s)))
	}
	plan := Plan{Problems: checkPrivileges(s, t)}
	plan.Problems = append(plan.Problems, checkSystemColumns(s, t)...)
	plan.Problems = append(plan.Problems, checkUnmapped(sub, t)...)
	if !slices.ContainsFunc(t.UniqueKeys, isKey) {
		plan.Problems = append(plan.Problems, problemf(s, "",
			"table %s has no unique key on (connection_id, external_id): ALTER TABLE %s ADD UNIQUE (connection_id, external_id)", Name(s), Name(s)))
	}
	for _, f := range sub.Mapping {
		statement, problem := planField(s, t, f)
		if problem != nil {
			plan.Problems = append(plan.Problems, *problem)
		} else if statement != "" {
			plan.Statements = append(plan.Statements, statement)
		}
	}
	if len(plan.Problems) > 0 {
		plan.Statements = nil
	}
	return plan
}

func isKey(columns []string) bool {
	return slices.Equal(columns, []string{"connection_id", "external_id"})
}

// checkPrivileges names the missing GRANT.
func checkPrivileges(s spec.Sink, t Table) []Problem {
	wanted := []string{"SELECT", "INSERT", "UPDATE"}
	if s.Delete == spec.HardDelete {
		wanted = append(wanted, "DELETE")
	}
	missing := slices.DeleteFunc(wanted, func(p string) bool { return slices.Contains(t.Privileges, p) })
	if !t.MayUseSchema {
		return []Problem{problemf(s, "", "schema %s may not be used: GRANT USAGE ON SCHEMA %s to the role of the pool", Quote(s.Schema), Quote(s.Schema))}
	}
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, ", ")
	return []Problem{problemf(s, "", "table %s lacks privileges: GRANT %s ON %s to the role of the pool", Name(s), list, Name(s))}
}

func checkSystemColumns(s spec.Sink, t Table) []Problem {
	var problems []Problem
	for _, want := range systemColumns {
		found, ok := t.Column(want.name)
		switch {
		case !ok:
			p := problemf(s, want.name, "table %s has no column %s: ALTER TABLE %s ADD COLUMN %s %s, or choose another table",
				Name(s), want.name, Name(s), want.name, want.typ)
			p.Wanted = want.typ
			problems = append(problems, p)
		case !fits(want.typ, found.Type):
			p := problemf(s, want.name, "column %s of %s has type %s, Syncline keeps %s there: choose another table", want.name, Name(s), found.Type, want.typ)
			p.Wanted, p.Found = want.typ, found.Type
			problems = append(problems, p)
		case found.Generated:
			problems = append(problems, problemf(s, want.name, "column %s of %s is generated and cannot be written: choose another table", want.name, Name(s)))
		case found.NotNull && !want.notNull:
			problems = append(problems, problemf(s, want.name, "column %s of %s must allow NULL: ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
				want.name, Name(s), Name(s), want.name))
		}
	}
	return problems
}

// checkUnmapped finds columns that would make every insert fail.
func checkUnmapped(sub spec.Subscription, t Table) []Problem {
	var problems []Problem
	for _, c := range t.Columns {
		mapped := slices.ContainsFunc(sub.Mapping, func(f spec.Field) bool { return f.Name == c.Name })
		if c.NotNull && !c.HasDefault && !c.Generated && !mapped && !Reserved(c.Name) {
			problems = append(problems, problemf(sub.Sink, c.Name,
				"column %s of %s is NOT NULL without a default and no field is mapped to it: map it, or ALTER TABLE %s ALTER COLUMN %s SET DEFAULT ...",
				Quote(c.Name), Name(sub.Sink), Name(sub.Sink), Quote(c.Name)))
		}
	}
	return problems
}

// planField gives the statement that adds a missing column, or the problem with the one that is there.
func planField(s spec.Sink, t Table, f spec.Field) (string, *Problem) {
	found, ok := t.Column(f.Name)
	switch {
	case !ok && s.Management == spec.Managed && t.Owned:
		return fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", Name(s), Quote(f.Name), f.Type), nil
	case !ok:
		p := problemf(s, f.Name, "table %s has no column %s: ALTER TABLE %s ADD COLUMN %s %s", Name(s), Quote(f.Name), Name(s), Quote(f.Name), f.Type)
		p.Wanted = string(f.Type)
		return "", &p
	case !fits(string(f.Type), found.Type):
		p := problemf(s, f.Name,
			"column %s of %s has type %s, the field wants %s: change the field's type, or ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s",
			Quote(f.Name), Name(s), found.Type, f.Type, Name(s), Quote(f.Name), f.Type, Quote(f.Name), f.Type)
		p.Wanted, p.Found = string(f.Type), found.Type
		return "", &p
	case found.Generated:
		return "", new(problemf(s, f.Name,
			"column %s of %s is generated and cannot be written: remove the field, or make it an ordinary column", Quote(f.Name), Name(s)))
	}
	return "", nil
}
