package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// chunk is what one transaction applies.
type chunk struct {
	records []record
	bytes   int64
	// checkpoint covers every record up to some record of this chunk.
	checkpoint *source.Cursor
	// last says that the walk was read to its end.
	last bool
	// release is what the chunk gives back to the memory bound when it is done.
	release int64
}

func (c *chunk) empty() bool { return len(c.records) == 0 && c.checkpoint == nil }

// pipeline is one walk: a goroutine that fetches, one that maps and one that writes, joined by unbuffered channels.
type pipeline struct {
	run    *run
	pages  chan source.Page
	chunks chan *chunk
	memory *semaphore.Weighted
	// failure is why fetching or mapping ended early; written before chunks is closed.
	failure error
}

// walk reads the source to its end. What was fetched before the source failed is written first.
func (r *run) walk(ctx context.Context) error {
	src, closeSource, err := r.handler.cfg.Sources(Request{
		ConnectionID: r.connectionID, Connection: r.connection, Subscription: r.sub, Credential: r.credential,
		Now: func() time.Time { return time.Now().Add(r.skew) },
	})
	if err != nil {
		return faultf(codeSource, "%w", err)
	}
	if closeSource != nil {
		defer closeSource()
	}
	p := &pipeline{run: r, pages: make(chan source.Page), chunks: make(chan *chunk), memory: semaphore.NewWeighted(r.handler.cfg.MemoryBytes)}
	group, inner := errgroup.WithContext(ctx)
	fetchFailure := make(chan error, 1)
	group.Go(func() error {
		defer close(p.pages)
		fetchFailure <- p.fetch(inner, src.Walk(r.from))
		return nil
	})
	group.Go(func() error {
		defer close(p.chunks)
		p.failure = p.transform(inner, fetchFailure)
		return nil
	})
	group.Go(func() error { return p.write(inner) })
	if err := group.Wait(); err != nil {
		return err
	}
	return p.failure
}

// fetch hands pages over until the walk ends. The next page is fetched when what is in memory leaves room.
func (p *pipeline) fetch(ctx context.Context, walker source.Walker) error {
	for {
		page, err := walker.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		if err := p.memory.Acquire(ctx, p.weight(page)); err != nil {
			return err
		}
		select {
		case p.pages <- page:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// weight is what a page takes of the memory bound; a page larger than the bound takes all of it.
func (p *pipeline) weight(page source.Page) int64 {
	return min(max(page.Bytes, 1), p.run.handler.cfg.MemoryBytes)
}

// transform maps pages and gathers chunks. A chunk goes out when it is full, when the writer has nothing else to do, or
// at the end.
func (p *pipeline) transform(ctx context.Context, fetched <-chan error) error {
	pending := &chunk{}
	for {
		page, open, err := p.next(ctx, &pending)
		if err != nil {
			return err
		}
		if !open {
			return p.finish(ctx, pending, <-fetched)
		}
		if pending, err = p.add(ctx, pending, page); err != nil {
			return err
		}
	}
}

// next waits for a page, and offers what is pending to the writer meanwhile.
func (p *pipeline) next(ctx context.Context, pending **chunk) (source.Page, bool, error) {
	for {
		var out chan *chunk
		if !(*pending).empty() {
			out = p.chunks
		}
		select {
		case page, open := <-p.pages:
			return page, open, nil
		case out <- *pending:
			*pending = &chunk{}
		case <-ctx.Done():
			return source.Page{}, false, ctx.Err()
		}
	}
}

// add maps one page into the pending chunk, sending those that are full.
func (p *pipeline) add(ctx context.Context, pending *chunk, page source.Page) (*chunk, error) {
	each := page.Bytes / int64(max(len(page.Records), 1))
	for i, raw := range page.Records {
		if p.full(pending, each) {
			if err := p.send(ctx, pending); err != nil {
				return nil, err
			}
			pending = &chunk{}
		}
		mapped, err := p.run.mapRecord(ctx, raw, page.Faults[i])
		if err != nil {
			return nil, err
		}
		pending.records = append(pending.records, mapped)
		pending.bytes += each
	}
	pending.release += p.weight(page)
	if page.Checkpoint != nil {
		pending.checkpoint = page.Checkpoint
	}
	if pending.empty() {
		// Nobody would release it: an empty chunk is not sent.
		p.memory.Release(pending.release)
		pending.release = 0
	}
	return pending, nil
}

func (p *pipeline) full(c *chunk, next int64) bool {
	cfg := p.run.handler.cfg
	return len(c.records) >= cfg.ChunkRecords || (len(c.records) > 0 && c.bytes+next > cfg.ChunkBytes)
}

func (p *pipeline) send(ctx context.Context, c *chunk) error {
	select {
	case p.chunks <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish sends the rest. Only a walk that was read to its end has a last chunk.
func (p *pipeline) finish(ctx context.Context, pending *chunk, failure error) error {
	pending.last = failure == nil
	if pending.last || !pending.empty() {
		if err := p.send(ctx, pending); err != nil {
			return err
		}
	}
	return failure
}

func (p *pipeline) write(ctx context.Context) error {
	for c := range p.chunks {
		if err := p.run.commitChunk(ctx, c); err != nil {
			return err
		}
		p.memory.Release(c.release)
	}
	return nil
}

// mapRecord maps one record; an error of its own concerns this record only, and so does the source's fault. What the
// filter leaves out needs no place in the walk.
func (r *run) mapRecord(ctx context.Context, raw any, fault *mapping.RecordError) (record, error) {
	mapped, err := r.program.Apply(ctx, raw)
	out := record{raw: raw, mapped: mapped}
	if err != nil {
		var ok bool
		if out.err, ok = errors.AsType[*mapping.RecordError](err); !ok {
			return out, fmt.Errorf("map a record: %w", err)
		}
		return out, nil
	}
	if fault != nil && !mapped.Filtered {
		out.err = fault
		return out, nil
	}
	out.time = r.shape.timeOf(raw, mapped)
	return out, nil
}
