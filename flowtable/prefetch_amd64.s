//go:build !purego

#include "textflag.h"

// func prefetchBuckets(buckets *bucket, n uint64, hashes *uint64, count int)
TEXT ·prefetchBuckets(SB), NOSPLIT, $0-32
	MOVQ buckets+0(FP), DI
	MOVQ n+8(FP), BX
	MOVQ hashes+16(FP), SI
	MOVQ count+24(FP), CX
	TESTQ CX, CX
	JLE  done

loop:
	MOVQ (SI), AX
	SHRQ $32, AX
	IMULQ BX, AX
	SHRQ $32, AX
	SHLQ $6, AX
	PREFETCHT0 (DI)(AX*1)
	ADDQ $8, SI
	DECQ CX
	JNZ  loop

done:
	RET

// func prefetchFlows(flows *Flow, refs *Ref, count int)
TEXT ·prefetchFlows(SB), NOSPLIT, $0-24
	MOVQ flows+0(FP), DI
	MOVQ refs+8(FP), SI
	MOVQ count+16(FP), CX
	TESTQ CX, CX
	JLE  done

loop:
	MOVL (SI), AX
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT0 (DI)(AX*1)
	ADDQ $4, SI
	DECQ CX
	JNZ  loop

done:
	RET

// func prefetchWindows(windows *window, refs *Ref, segments uint64, from, to int)
//
// A window has 48 bytes: half of them lie on two lines.
TEXT ·prefetchWindows(SB), NOSPLIT, $0-40
	MOVQ windows+0(FP), DI
	MOVQ refs+8(FP), SI
	MOVQ segments+16(FP), BX
	MOVQ from+24(FP), CX
	MOVQ to+32(FP), DX

loop:
	CMPQ CX, DX
	JGE  done
	BTQ  CX, BX
	JCC  next
	MOVL (SI)(CX*4), AX
	SHRL $1, AX
	LEAQ (AX)(AX*2), AX
	SHLQ $4, AX
	PREFETCHT0 (DI)(AX*1)
	PREFETCHT0 47(DI)(AX*1)

next:
	INCQ CX
	JMP  loop

done:
	RET
