package schema

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// PolicyRetain and PolicyDelete are the deletion policies of a subscription's row.
const (
	PolicyRetain = "Retain"
	PolicyDelete = "Delete"
)

// All statements below touch only rows of exactly this incarnation of the owner: a resource that was created again has
// another uid. They read the owner's columns without an index; these tables are as small as the number of resources.
const (
	// removePool keeps the row while workers of the pool live: they read their tuning from it.
	removePool = `
WITH mine AS (
	SELECT name FROM pool WHERE owner_cluster = $1 AND owner_uid = $2
), removed AS (
	DELETE FROM pool AS p
	USING mine
	WHERE p.name = mine.name AND NOT EXISTS (SELECT FROM worker WHERE worker.pool = p.name)
	RETURNING p.name
)
SELECT (SELECT count(*) FROM mine) = (SELECT count(*) FROM removed)`

	disownPool = `
UPDATE pool SET
	secrets = NULL, secrets_version = NULL,
	owner_cluster = NULL, owner_namespace = NULL, owner_name = NULL, owner_uid = NULL, owner_generation = NULL,
	updated_at = clock_timestamp()
WHERE owner_cluster = $1 AND owner_uid = $2`

	removeConnection = `
DELETE FROM connection AS c
WHERE owner_cluster = $1 AND owner_uid = $2
	AND NOT EXISTS (SELECT FROM subscription AS s WHERE s.connection_id = c.id)`

	// A connection that retained subscriptions still name loses its credential and its owner; one that is created again
	// under the same name takes it over.
	disownConnection = `
UPDATE connection SET
	credential = NULL, credential_version = NULL,
	owner_cluster = NULL, owner_namespace = NULL, owner_name = NULL, owner_uid = NULL, owner_generation = NULL,
	updated_at = clock_timestamp()
WHERE owner_cluster = $1 AND owner_uid = $2`

	retireSubscription = `
UPDATE subscription SET retired_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE owner_cluster = $1 AND owner_uid = $2 AND retired_at IS NULL`

	deleteSubscription = `
DELETE FROM subscription
WHERE owner_cluster = $1 AND owner_uid = $2
RETURNING id`

	// purgeAudit removes a part of the audit of a subscription that has no row; items go before the runs they name. It
	// relies on the indexes on subscription_id.
	purgeAudit = `
WITH gone AS (
	SELECT $1::uuid AS id WHERE NOT EXISTS (SELECT FROM subscription WHERE id = $1)
), items AS (
	DELETE FROM sync_item WHERE ctid = ANY (ARRAY(
		SELECT i.ctid FROM sync_item AS i JOIN gone ON i.subscription_id = gone.id LIMIT $2))
	RETURNING 1
), set_aside AS (
	DELETE FROM quarantine WHERE ctid = ANY (ARRAY(
		SELECT q.ctid FROM quarantine AS q JOIN gone ON q.subscription_id = gone.id LIMIT $2))
	RETURNING 1
), runs AS (
	DELETE FROM sync_run WHERE ctid = ANY (ARRAY(
		SELECT r.ctid FROM sync_run AS r JOIN gone ON r.subscription_id = gone.id
		WHERE NOT EXISTS (SELECT FROM sync_item AS i WHERE i.subscription_id = gone.id)
		LIMIT $2))
	RETURNING 1
)
SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM set_aside) + (SELECT count(*) FROM runs) > 0`
)

// RemovePool removes the rows of the pools that exactly this owner declared. Done is false while one stays because
// workers of the pool still live.
func RemovePool(ctx context.Context, tx pgx.Tx, owner Owner) (done bool, err error) {
	if err := tx.QueryRow(ctx, removePool, owner.Cluster, owner.UID).Scan(&done); err != nil {
		return false, fmt.Errorf("remove pool of %s/%s: %w", owner.Namespace, owner.Name, err)
	}
	return done, nil
}

// DisownPool leaves a pool's row to whoever declares it next, as if it had been made by hand.
func DisownPool(ctx context.Context, tx pgx.Tx, owner Owner) error {
	return retire(ctx, tx, "disown pool", disownPool, owner)
}

// RemoveConnection removes a connection's row; when subscriptions still name it, only its credential and its owner.
func RemoveConnection(ctx context.Context, tx pgx.Tx, owner Owner) error {
	if err := retire(ctx, tx, "remove connection", removeConnection, owner); err != nil {
		return err
	}
	return retire(ctx, tx, "disown connection", disownConnection, owner)
}

// RetireSubscription keeps a subscription's cursor and audit, but nothing starts it any more.
func RetireSubscription(ctx context.Context, tx pgx.Tx, owner Owner) error {
	return retire(ctx, tx, "retire subscription", retireSubscription, owner)
}

// DeleteSubscription removes a subscription's row with its cursor, and says which ids that were: their audit is left to
// PurgeSubscription.
func DeleteSubscription(ctx context.Context, tx pgx.Tx, owner Owner) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, deleteSubscription, owner.Cluster, owner.UID)
	if err != nil {
		return nil, fmt.Errorf("delete subscription of %s/%s: %w", owner.Namespace, owner.Name, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("delete subscription of %s/%s: %w", owner.Namespace, owner.Name, err)
	}
	return ids, nil
}

// PurgeSubscription removes up to batch rows of each kind of a deleted subscription's audit and says whether there may
// be more. It changes nothing when the subscription has a row again.
func PurgeSubscription(ctx context.Context, db *pgxpool.Pool, id uuid.UUID, batch int) (rest bool, err error) {
	if err := db.QueryRow(ctx, purgeAudit, id, batch).Scan(&rest); err != nil {
		return false, fmt.Errorf("purge audit of subscription %s: %w", id, err)
	}
	return rest, nil
}

func retire(ctx context.Context, tx pgx.Tx, what, query string, owner Owner) error {
	if _, err := tx.Exec(ctx, query, owner.Cluster, owner.UID); err != nil {
		return fmt.Errorf("%s of %s/%s: %w", what, owner.Namespace, owner.Name, err)
	}
	return nil
}
