package jobs

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// showTypesSQL writes one row of worker by its primary key, which stays HOT.
const showTypesSQL = `
UPDATE worker
SET types = $2
WHERE id = $1`

// Serve makes the incarnation claim these types and no others from now on, and says so in its row and in job_type, so
// that runs of a new type can be started without naming a pool. After an error the row may show what it showed before;
// what is claimed has changed all the same.
func (s *Store) Serve(ctx context.Context, inc *Incarnation, types []string, build string) error {
	inc.mu.Lock()
	inc.Types = slices.Clone(types)
	inc.mu.Unlock()
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, showTypesSQL, inc.ID, types); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, registerTypesSQL, inc.Pool, build, types)
		return err
	})
	if err != nil {
		return fmt.Errorf("show the job types of worker %d: %w", inc.ID, typed(err))
	}
	return nil
}

// serving are the types that the incarnation claims now.
func (i *Incarnation) serving() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.Types
}
