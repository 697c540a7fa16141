package jobs

import "github.com/jackc/pgx/v5/pgxpool"

// Database is the pool of connections lent to handlers, whose search path is the queue's schema; nil for a claim that no
// Store handed out.
func (c *Claim) Database() *pgxpool.Pool {
	if c.access == nil {
		return nil
	}
	return c.access.db
}
