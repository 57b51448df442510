//go:build !purego

#include "textflag.h"

// Offsets in Bulk: Refs, late and lates come after the 64 hashes.
#define REFS 512
#define LATE 768
#define LATES 832

// func matchSSE2(buckets *bucket, n uint64, k *Bulk, flows *Flow, delta *[256]uint32, from, to int)
//
// One compare finds the tag (low byte of the hash, 0 counts as 1) among the 12
// of the bucket, which are its first bytes; byte 14 counts the keys that have
// overflowed; the references begin at byte 16. The alternative bucket is
// delta[tag] - bucket modulo n.
TEXT ·matchSSE2(SB), NOSPLIT, $0-56
	MOVQ buckets+0(FP), DI
	MOVQ n+8(FP), BX
	MOVQ k+16(FP), SI
	MOVQ flows+24(FP), R10
	MOVQ delta+32(FP), R12
	MOVQ from+40(FP), R9
	MOVQ to+48(FP), R11

loop:
	MOVQ (SI)(R9*8), AX
	MOVBLZX AX, R13
	CMPL R13, $1
	ADCL $0, R13
	SHRQ $32, AX
	IMULQ BX, AX
	SHRQ $32, AX
	MOVQ AX, R8
	SHLQ $6, R8
	ADDQ DI, R8
	MOVL R13, X0
	PUNPCKLBW X0, X0
	PSHUFLW $0, X0, X0
	PUNPCKLQDQ X0, X0
	MOVOU (R8), X1
	PCMPEQB X0, X1
	PMOVMSKB X1, DX
	ANDL $0xfff, DX
	JZ   none
	BSFL DX, CX
	MOVL 16(R8)(CX*4), AX
	MOVL AX, REFS(SI)(R9*4)
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT0 (R10)(AX*1)
	LEAL -1(DX), CX
	ANDL CX, DX
	JNZ  second

next:
	INCQ R9
	CMPQ R9, R11
	JLT  loop
	RET

none:
	MOVL $0, REFS(SI)(R9*4)
	CMPB 14(R8), $0
	JEQ  next
	MOVL (R12)(R13*4), CX
	CMPL CX, AX
	JCC  noborrow
	ADDL BX, CX

noborrow:
	SUBL AX, CX
	SHLQ $6, CX
	PREFETCHT0 (DI)(CX*1)
	MOVQ LATES(SI), CX
	MOVB R9, LATE(SI)(CX*1)
	INCQ CX
	MOVQ CX, LATES(SI)
	JMP  next

second:
	// Two tags fit, one of them by chance: ask for both records.
	BSFL DX, CX
	MOVL 16(R8)(CX*4), AX
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT0 (R10)(AX*1)
	JMP  next
