//go:build !amd64 || purego

package flowtable

// match64 is Match for at least one key.
func (t *Table) match64(k *Bulk, from, to int) { t.matchPortable(k, from, to) }
