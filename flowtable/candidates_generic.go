//go:build !amd64 || purego

package flowtable

func (t *Table) candidates(hashes []uint64, refs []Ref) { t.candidatesPortable(hashes, refs) }
