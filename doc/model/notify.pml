/* SPDX-License-Identifier: LGPL-2.1-only */
/* notify.pml: outband notifications as differences between states    (requirements R-1.5 to R-1.7, R-13.1 to R-13.7; doc/architecture.md, "A notification")
 *
 * Run one case (Spin 6):
 *     spin -DNEV=2 -a notify.pml
 *     gcc -O2 -DSAFETY -DCOLLAPSE -DMEMLIM=3500 -DVECTORSZ=4096 -o pan pan.c
 *     ./pan -E -m100000 -w22                     (-E: coming to an end is no error)
 *     spin -DNEV=2 -t -p -g notify.pml           (the trace, when pan reports an error; the same -D)
 *
 * What is in it. One device, one folder of up to 3 UIDs with one flag ("matches", "does not"), modseqs, GUIDs. Others deliver, change
 * flags, expunge; the device's own session changes a flag; the folder is restored to its first state; preferences change (NONE, matching,
 * ALL). Hints are lost, scans run at any time. The service keeps registry, accounted state and queue in a database, sends jobs to
 * workers, numbers, sends, marks done; it, and the workers, crash between any two of these steps; a second service may start
 * while the first lives. The peer refuses, takes, or takes while the answer is lost.
 *
 * Steps (each atomic): profile read and folder read by the worker | transaction: compare, rows, accounted state, registry's generation |
 * transaction: judge and number the row at the head | judge again and try | transaction: done | transaction: join.
 *
 * Properties. While sending: a number's content never changes, no event has two numbers, no gap among the numbers handed over (P2);
 * nothing that was not judged by the filter whose OK was given, nothing of the baseline (P3); one STATE_COMPARISON_SYNC a restore (P4).
 * When all is quiet: queue empty; NEW: each message that came after OK and passed ever since was told, or covered by a SYNC (P1); ALL: what
 * the device knows of each message is what the folder holds.
 *
 * How it was made small, and what that loses: one folder (joining over folders is not seen), one row in flight per device over a channel with
 * answers, one restore, always to the first state; time (expiry, back-off, join interval, grace) is nondeterminism, so figures are not seen;
 * rows never expire; a message that crashes every worker is not in it; the look is one step (MUT 9, 10, 11 take it apart).
 *
 * Expected (Spin 6.5.2; most figures are of a version slightly older than this file, so run each again before quoting it)
 *   (the rules as proposed)                        -DNEV=2                                   no error, 247 thousand states
 *   three changes                                  -DNEV=3 -DNFAIL=0                         no error, 1.9 million
 *   event filter ALL                               -DNEV=2 -DEVF=1                           no error, 835 thousand states
 *   a worker crashes                               -DNEV=2 -DNWC=1                           no error, 493 thousand
 *   no scans, hints arrive, workers crash          -DNEV=3 -DSCAN=0 -DNCR=0 -DNWC=1 -DNFAIL=0   no error, 1.7 million
 *   filters change while rows are queued           -DNEV=2 -DNPF=2 -DNFAIL=0                 no error, 3.8 million
 *   service not running at first                   -DNEV=2 -DDOWN=1                          no error, 250 thousand
 *   two services overlap, spool lock               -DNEV=2 -DS=2 -DNCR=0                     no error, 354 thousand
 *   the same without lock, conditional updates     -DNEV=2 -DS=2 -DLOCK=0 -DNCR=0 -DNFAIL=0  no error, 653 thousand
 *   two jobs at once, compare-and-set              -DNEV=2 -DJ=2 -DNCR=0 -DNFAIL=0           no error, 6.6 million
 *   one job at a time needs no compare-and-set     -DNEV=3 -DCAS=0 -DNFAIL=0                 no error, 2.7 million
 *   restore                                        -DNEV=3 -DNREST=1 -DNCR=0 -DNFAIL=0       no error, 3.5 million
 *   restore, service crashes                       -DNEV=2 -DNREST=1 -DNFAIL=0               no error, 841 thousand
 *   restore with joining                           -DNEV=2 -DJOIN=1 -DNREST=1 -DNCR=0 -DNFAIL=0   no error, 289 thousand
 *   joining                                        -DNEV=2 -DJOIN=1                          no error, 257 thousand
 *   grace, the device reads inband                 -DNEV=2 -DGRACE=1 -DNFAIL=0               no error, 1.6 million
 *   a message can't be read once                   -DNEV=2 -DNERR=1 -DNFAIL=0                no error, 222 thousand
 *   own changes, modseq before and after           -DNEV=1 -DEVF=1 -DNOWN=1 -DNFAIL=0        no error, 368 thousand
 *   UDP, ACK names one                             -DUDP -DACK=0 (also with -DGAP=1)         no error, 1,028
 *   UDP, all below, one outstanding                -DUDP -DACK=1 -DWINDOW=1                  no error, 146
 *   UDP, the highest with no gap below             -DUDP -DACK=2                             no error, 609
 *   GUID of the newest message alone               -DNEV=3 -DNREST=1 -DDETECT=1 -DNCR=0 -DNFAIL=0   no error, 3.5 million (bounds too small for the flaw)
 * Deliberate mistakes and earlier wordings, each must be an ERROR:
 *   -DMUT=1 (-DNEV=2)                 rows first, accounted state in a second transaction: two numbers
 *   -DMUT=2 (-DNEV=2)                 accounted state first, rows in a second transaction: loss
 *   -DCAS=0 -DJ=2 -DNEV=2 -DNFAIL=0 -DNCR=0   two jobs, no compare-and-set: two numbers; also -DS=2 -DLOCK=0 -DJ=2 -DCAS=0
 *   -DMUT=4 -DNEV=2 -DNPF=2 -DGAPOK=0   number given at queueing: gap
 *   -DMUT=5 -DNEV=2 -DNPF=2           sent first, number stored after: one number, two contents
 *   -DMUT=6 -DS=2 -DNEV=2 -DNCR=0     next number in memory, read before the lock: one number, two contents
 *   -DBASE=2 -DNEV=2                  baseline after OK: loss;  -DBASE=0 -DNEV=2 (also -DDOWN=1): the first look takes it: loss
 *   -DMUT=8 -DJOIN=1 -DNEV=2          joining takes a numbered row: gap
 *   -DMUT=9 -DNEV=2                   UIDNEXT and HIGHESTMODSEQ newer than the set: false STATE_COMPARISON_SYNC
 *   -DMUT=10 -DNEV=2                  what a scan compares is noted after the look: loss
 *   -DMUT=11 -DJ=2 -DNEV=2 -DNCR=0 -DNFAIL=0   folder synced before the accounted state is read: doubles, in spite of compare-and-set
 *   -DREGRULE=1 -DNPF=2 -DNEV=2       registry told by a hint: what is excluded is sent
 *   -DMUT=13 -DNPF=3 -DNEV=2 -DNCR=0  hash of the filter in place of a generation: a message of the baseline is told
 *   -DMUT=14 -DSCAN=0 -DNCR=0 -DNEV=2   a hint during a job is forgotten: loss
 *   -DMUT=18 -DEVF=1 -DNEV=2          a later change replaces a numbered row's content
 *   -DMUT=19 -DJOIN=1 -DNREST=1 -DNEV=3 -DNCR=0 -DNFAIL=0   STATE_COMPARISON_SYNC joined into SYNC
 *   -DMUT=21 -DGRACE=1 -DNEV=2        any acknowledgement within the grace drops the row: loss
 *   -DMUT=22 -DNERR=1 -DNEV=2         an unreadable message is final: loss
 *   -DMUT=23 -DNPF=2 -DNEV=2          a row judged by a newer generation than the registry's is dropped: loss
 *   -DDETECT=0 -DNREST=1 -DNEV=2 -DNCR=0 -DNFAIL=0   restore and as many deliveries: loss
 *   -DOWNRULE=0 (or 1) -DNEV=1 -DEVF=1 -DNOWN=1 -DNCR=0 -DNFAIL=0   own change by UID, or by the modseq after: another's change is lost
 *   -DGAPOK=0 (or 2) -DNPF=2 -DNEV=2  R-1.7 against R-13.3: a numbered row that no longer passes leaves a gap, or is sent
 *   -DUDP -DACK=1                     ACK ends all below: loss;  -DACK=3: a login acknowledges: loss;  -DACK=2 -DGAP=1: never acknowledged
 */

/* ---------------------------------------------------------------- bounds and switches (give others with -D) */
#ifndef M
#define M 3              /* UIDs 0..M-1; UID 0 is there from the start                                  */
#endif
#ifndef NEV
#define NEV 3            /* changes by others: delivery, flag change, expunge                          */
#endif
#ifndef NPF
#define NPF 1            /* preference changes; the first one makes the device notify                  */
#endif
#ifndef NCR
#define NCR 1            /* crashes of the service                                                     */
#endif
#ifndef NWC
#define NWC 0            /* crashes of a worker                                                        */
#endif
#ifndef NFAIL
#define NFAIL 1          /* tries that are refused, or taken by the peer and the answer lost           */
#endif
#ifndef NREST
#define NREST 0          /* restores of the folder to its first state                                  */
#endif
#ifndef NOWN
#define NOWN 0           /* changes by the device's own session (0 or 1)                               */
#endif
#ifndef NERR
#define NERR 0           /* looks in which a new message can't be read                                 */
#endif
#ifndef S
#define S 1              /* service processes; 2: a reload starts the second while the first lives     */
#endif
#ifndef J
#define J 1              /* jobs for the folder at once                                                */
#endif
#ifndef EVF
#define EVF 0            /* event filter: 0 NEW, 1 ALL                                                 */
#endif
#ifndef JOIN
#define JOIN 0           /* several queued rows may become one SYNC                                    */
#endif
#ifndef GRACE
#define GRACE 0          /* the device is connected, and may read inband                               */
#endif
#ifndef LOCK
#define LOCK 1           /* 1: only the holder of the spool lock works                                 */
#endif
#ifndef CAS
#define CAS 1            /* 1: a result counts only if the accounted row is still the one it began with */
#endif
#ifndef DETECT
#define DETECT 2         /* folder went back: 0 UIDNEXT or HIGHESTMODSEQ below; 1 and the GUID of the  */
#endif                   /* newest message; 2 and the (UID, GUID) of the newest few                    */
#ifndef BASE
#define BASE 1           /* baseline: 0 asked of the service before OK; 1 written into the profile with */
#endif                   /* the preference; 2 taken after OK                                           */
#ifndef DOWN
#define DOWN 0           /* 1: the service is not running at first                                     */
#endif
#ifndef REGRULE
#define REGRULE 0        /* 0: the service knows a new filter before OK, and reads profiles at take-over; 1: by a hint */
#endif
#ifndef OWNRULE
#define OWNRULE 2        /* own change known by 0 UID; 1 UID and modseq after; 2 and modseq before     */
#endif
#ifndef SCAN
#define SCAN 1           /* 1: hints may be lost, scans run; 0: hints arrive, no scan                  */
#endif
#ifndef GAPOK
#define GAPOK 1          /* 1: a numbered row that no longer passes is dropped and leaves a gap        */
#endif                   /* 0: the same, and the gap is an error; 2: it is sent all the same           */
#ifndef MUT
#define MUT 0
#endif
#ifndef Q
#define Q 6
#endif
#ifndef NS
#define NS 8             /* sequence numbers that the monitors know                                    */
#endif

#define bit(x,m)   (((x) >> (m)) & 1)
#ifndef UDP
#define pass(f,s)  (((f) == 1 && (s) == 1) || ((f) == 2 && ((s) == 1 || (s) == 2)))   /* 0 NONE, 1 "matches", 2 ALL */
#define isin(s)    ((s) == 1 || (s) == 2)
#define X(j,m)     ((j) * M + (m))
#define G          (NPF + 1)
#define NEWM 1           /* kinds of a row */
#define CHGM 2
#define DELM 3
#define SYNC 4
#define SCS  5           /* STATE_COMPARISON_SYNC */

/* ---- the folder */
byte st[M];              /* 0 never there (or gone back), 1 matches the filter, 2 does not, 3 expunged  */
byte ms[M];              /* modseq                                                                     */
byte fc[M];              /* how many changes by others it has had: what the device is owed             */
byte gid[M];             /* GUID: which life of the folder it came in                                  */
byte un, hms, sig, inc;  /* UIDNEXT, HIGHESTMODSEQ, what a scan sees (log size, mtime), life           */

/* ---- the profile: generations of preferences, with the baseline of each */
byte prof, okg;          /* generation written; generation whose OK was given                          */
byte gf[G], bg[G];       /* its filter; generation of its baseline                                     */
byte pbu[G], pbm[G], pbp[G], pbx[G], pbg[G*M];
bool prefdone, envdone, final;

/* ---- the service's database */
byte a_un, a_ms, a_push, a_g, a_bg, a_sig, a_pend, a_wx, a_wg[M];    /* accounted state                 */
byte regg, nseq;                                                      /* registry's generation; last seq */
byte qn, qk[Q], qm[Q], qms[Q], qfc[Q], qg[Q], qi[Q], qs[Q];           /* queue                           */

/* ---- processes */
bool alive[S], dirty[S], hintp, reghint;
byte lock, snd[S], memseq[S];
byte ncr, nwc, nfail, nev, nerr, nrest, nown, npf;
byte j_st[J], j_own[J];  /* 0 idle, 1 sent to a worker, 2 folder read, 3 answer there, 4 half written   */
bool j_stale[J];         /* the accounted row was written since: the version differs                    */
byte j_un[J], j_ms[J], j_push[J], j_g[J], j_sig[J], j_ex[J], j_err[J], j_mm[J*M], j_fc[J*M], j_gi[J*M];
byte b_un[J], b_ms[J], b_push[J], b_g[J], b_bg[J], b_pend[J], b_wx[J], b_wg[J*M];
byte own_st, own_m, own_b, own_a;   /* own change: 0 none, 1 hint under way, 2 at the service, 3 used or lost */
bool conn; byte sentms, ackms;

/* ---- monitors */
bool must[M], told[M], known[M], bl[M]; byte tfc[M];
short cc[NS]; byte maxs, got, scs; bool scsdue;
hidden byte i, k, kk, f1, is, was, nw, ch, ow, back;

#define code(n)    (qk[n] >= SYNC -> qk[n] * 40 : qi[n] * 256 + qk[n] * 40 + qm[n] * 10 + qms[n])

inline upd() {           /* a message that fails once is no longer owed under NEW */
  i = 0; do :: i < M -> if :: must[i] && !(isin(st[i]) && pass(gf[prof], st[i])) -> must[i] = 0 :: else fi; i++ :: else -> i = 0; break od
}
inline changed() { sig++; upd(); if :: SCAN == 0 -> hintp = 1 :: else fi }

inline shift() {         /* the row at the head goes */
  i = 0;
  do :: i + 1 < qn -> qk[i] = qk[i+1]; qm[i] = qm[i+1]; qms[i] = qms[i+1]; qfc[i] = qfc[i+1]; qg[i] = qg[i+1]; qi[i] = qi[i+1]; qs[i] = qs[i+1]; i++
     :: else -> break od;
  qn--; qk[qn] = 0; qm[qn] = 0; qms[qn] = 0; qfc[qn] = 0; qg[qn] = 0; qi[qn] = 0; qs[qn] = 0; i = 0
}
inline row(kind, u, vms, vfc, gen, vi) {
  i = 0;                 /* MUT 18: a later change replaces the content of a row of the same message, numbered or not */
  do :: MUT == 18 && kind == CHGM && i < qn && !(qm[i] == u && qk[i] <= CHGM) -> i++ :: else -> break od;
  if :: MUT == 18 && kind == CHGM && i < qn -> qms[i] = vms; qfc[i] = vfc
     :: else ->
        assert(qn < Q);
        qk[qn] = kind; qm[qn] = u; qms[qn] = vms; qfc[qn] = vfc; qg[qn] = gen; qi[qn] = vi;
        if :: MUT == 4 -> nseq++; qs[qn] = nseq :: else -> qs[qn] = 0 fi;
        qn++
  fi; i = 0
}
inline resetjob(j) {
  j_st[j] = 0; j_own[j] = 0; j_stale[j] = 0; j_un[j] = 0; j_ms[j] = 0; j_push[j] = 0; j_g[j] = 0; j_sig[j] = 0; j_ex[j] = 0; j_err[j] = 0;
  b_un[j] = 0; b_ms[j] = 0; b_push[j] = 0; b_g[j] = 0; b_bg[j] = 0; b_pend[j] = 0; b_wx[j] = 0;
  k = 0; do :: k < M -> j_mm[X(j,k)] = 0; j_fc[X(j,k)] = 0; j_gi[X(j,k)] = 0; b_wg[X(j,k)] = 0; k++ :: else -> k = 0; break od
}
inline readbase(j) {     /* what is accounted goes with the job */
  b_un[j] = a_un; b_ms[j] = a_ms; b_push[j] = a_push; b_g[j] = a_g; b_bg[j] = a_bg; b_pend[j] = a_pend; b_wx[j] = a_wx; j_stale[j] = 0;
  k = 0; do :: k < M -> b_wg[X(j,k)] = a_wg[k]; k++ :: else -> k = 0; break od
}
inline readset(j) {      /* the worker syncs the folder and evaluates */
  j_g[j] = prof; j_push[j] = 0; j_ex[j] = 0; k = 0;
  do :: k < M ->
        if :: isin(st[k]) -> j_ex[j] = j_ex[j] | (1 << k); j_mm[X(j,k)] = ms[k]; j_gi[X(j,k)] = gid[k]; j_fc[X(j,k)] = fc[k] :: else -> j_fc[X(j,k)] = fc[k] fi;
        if :: isin(st[k]) && pass(gf[prof], st[k]) && !bit(j_err[j], k) -> j_push[j] = j_push[j] | (1 << k) :: else fi;
        k++
     :: else -> k = 0; break od
}
inline readnums(j) { j_un[j] = un; j_ms[j] = hms }

inline events(j) {       /* the difference between accounted and present */
  f1 = (BASE == 1 -> b_bg[j] != bg[j_g[j]] : (b_g[j] == 0 || gf[b_g[j]] == 0));   /* begins to notify: a baseline */
  if :: gf[j_g[j]] == 0 || (f1 && BASE != 1) -> skip                              /* nothing for what it held */
     :: else ->
        if :: f1 -> b_un[j] = pbu[bg[j_g[j]]]; b_ms[j] = pbm[bg[j_g[j]]]; b_push[j] = pbp[bg[j_g[j]]]; b_wx[j] = pbx[bg[j_g[j]]]; b_pend[j] = 0; k = 0;
              do :: k < M -> b_wg[X(j,k)] = pbg[bg[j_g[j]] * M + k]; k++ :: else -> k = 0; break od :: else fi;
        back = (j_un[j] < b_un[j] || j_ms[j] < b_ms[j]); k = 0;
        do :: k < M && DETECT > 0 ->
              if :: bit(j_ex[j], k) && k < b_un[j] && (DETECT == 2 || k + 1 == b_un[j]) &&
                    (bit(b_wx[j], k) -> b_wg[X(j,k)] != j_gi[X(j,k)] : DETECT == 2) -> back = 1
                 :: else fi; k++
           :: else -> k = 0; break od;
        if :: back -> row(SCS, 0, 0, 0, j_g[j], 0)
           :: else ->
              k = 0;
              do :: k < M ->
                    is = bit(j_push[j], k); was = bit(b_push[j], k); ch = j_mm[X(j,k)] > b_ms[j];
                    nw = (k >= b_un[j] && k < j_un[j]) || bit(b_pend[j], k);
                    ow = own_st == 2 && own_m == k && (OWNRULE == 0 || !bit(j_ex[j], k) ||
                         (own_a == j_mm[X(j,k)] && (OWNRULE == 1 || own_b <= b_ms[j])));
                    if :: ow -> skip
                       :: !ow && nw && is -> row(NEWM, k, j_mm[X(j,k)], j_fc[X(j,k)], j_g[j], j_gi[X(j,k)])
                       :: !ow && !nw && EVF == 1 && is && ch -> row(CHGM, k, j_mm[X(j,k)], j_fc[X(j,k)], j_g[j], j_gi[X(j,k)])
                       :: !ow && !nw && EVF == 1 && was && !is && (ch || !bit(j_ex[j], k)) -> kk = (bit(j_ex[j], k) -> j_mm[X(j,k)] : 0); row(DELM, k, kk, j_fc[X(j,k)], j_g[j], 0)
                       :: else fi;
                    k++
                 :: else -> k = 0; break od
        fi
  fi;
  if :: own_st == 2 && j_ms[j] >= own_a -> own_st = 3; own_b = 0 :: else fi;
  f1 = 0; is = 0; was = 0; ch = 0; nw = 0; ow = 0; back = 0
}
inline account(j) {
  a_un = j_un[j]; a_ms = j_ms[j]; a_push = (EVF == 1 -> j_push[j] : 0); a_g = j_g[j]; a_bg = bg[j_g[j]];
  if :: j_g[j] > regg && MUT != 23 -> regg = j_g[j] :: else fi;                     /* the answer carries the profile's generation */
  a_pend = (MUT == 22 -> 0 : j_err[j]); a_sig = (a_pend -> 255 : j_sig[j]);
  a_wx = (DETECT -> j_ex[j] : 0);
  k = 0; do :: k < M -> a_wg[k] = (DETECT -> j_gi[X(j,k)] : 0); k++ :: else -> k = 0; break od;
  k = 0; do :: k < J -> if :: k != j && j_st[k] -> j_stale[k] = 1 :: else fi; k++ :: else -> k = 0; break od
}
inline baseline_now(g) { /* the service takes the baseline itself */
  a_un = un; a_ms = hms; a_g = g; a_bg = g; a_sig = sig; a_pend = 0; a_push = 0; a_wx = 0;
  k = 0; do :: k < M -> if :: isin(st[k]) -> a_wx = a_wx | (1 << k); a_wg[k] = gid[k] :: else fi;
                        if :: EVF == 1 && pass(gf[g], st[k]) -> a_push = a_push | (1 << k) :: else fi; k++ :: else -> k = 0; break od;
  k = 0; do :: k < J -> if :: j_st[k] -> j_stale[k] = 1 :: else fi; k++ :: else -> k = 0; break od
}
inline taken() {         /* the peer takes the row at the head: monitors of P2 and P3, and what the device learns */
  assert(qs[0] > 0 && qs[0] < NS);
  assert(cc[qs[0]] == 0 || cc[qs[0]] == code(0));                       /* P2: a number's content never changes   */
  i = 1; do :: i < NS -> assert(!(i != qs[0] && qk[0] < SYNC && cc[i] == code(0) && qi[0] == inc)); i++ :: else -> i = 0; break od;   /* P2: one number */
  assert(qs[0] <= maxs + 1);                                            /* P2: no gap                             */
  if :: qs[0] > maxs -> maxs = qs[0] :: else fi;
  assert(qg[0] >= okg || (gf[qg[0]] == gf[okg] && bg[qg[0]] == bg[okg])); /* P3: judged by the filter in force      */
  assert(!(qk[0] == NEWM && bl[qm[0]] && qi[0] == gid[qm[0]]));         /* P3: nothing of the baseline            */
  cc[qs[0]] = code(0);
  if :: bit(got, qs[0]) -> skip                                         /* the device knows the number already    */
     :: else ->
        got = got | (1 << qs[0]);
        if :: qk[0] <= CHGM && qi[0] == gid[qm[0]] -> told[qm[0]] = 1; known[qm[0]] = 1; if :: qfc[0] > tfc[qm[0]] -> tfc[qm[0]] = qfc[0] :: else fi
           :: qk[0] == DELM -> known[qm[0]] = 0
           :: qk[0] >= SYNC -> syncdev(); if :: qk[0] == SCS -> scs++; assert(scs <= NREST) :: else fi       /* P4 */
           :: else fi
  fi
}
inline syncdev() {       /* the device compares its state with the folder */
  i = 0; do :: i < M -> told[i] = 1; known[i] = (isin(st[i]) && pass(gf[prof], st[i])); tfc[i] = fc[i]; i++ :: else -> i = 0; break od
}
#define mine(s)    (alive[s] && (LOCK == 0 || lock == s + 1))
#define ex0        (qk[0] < DELM -> isin(st[qm[0]]) && gid[qm[0]] == qi[0] && pass(gf[regg], st[qm[0]]) : gf[regg] != 0)
#define other(g)   (MUT == 13 -> gf[qg[0]] != gf[g] : qg[0] != g)       /* MUT 13: hash of the filter, not its generation */
#define sameb      (MUT == 13 || bg[qg[0]] == bg[regg])

proctype Svc(byte s) {
  byte j;
  do
  :: atomic { alive[s] && SCAN == 0 && hintp -> hintp = 0; dirty[s] = 1 }
  :: atomic { alive[s] && own_st == 1 -> own_st = 2; if :: SCAN == 0 -> dirty[s] = 1 :: else fi }
  :: atomic { mine(s) && SCAN == 1 && !dirty[s] && (a_sig != sig || a_g != prof) && (J == 2 || j_st[0] == 0) -> dirty[s] = 1 }   /* a hint or a scan */
  :: atomic { mine(s) && reghint -> regg = prof; reghint = 0 }
  :: atomic { mine(s) && dirty[s] && (j_st[0] == 0 || (J == 2 && j_st[J-1] == 0)) ->      /* a job */
       j = (j_st[0] == 0 -> 0 : J - 1);
       j_st[j] = 1; j_own[j] = s; j_sig[j] = sig;
       if :: MUT == 14 -> skip :: else -> dirty[s] = 0 fi;
       if :: MUT == 11 -> readset(j); readnums(j) :: else -> readbase(j) fi; j = 0 }
  :: atomic { (j_st[0] == 3 && j_own[0] == s && mine(s)) || (J == 2 && j_st[J-1] == 3 && j_own[J-1] == s && mine(s)) ->  /* an answer */
       if :: j_st[0] == 3 && j_own[0] == s -> j = 0 :: J == 2 && j_st[J-1] == 3 && j_own[J-1] == s -> j = J - 1 fi;
       if :: CAS && j_stale[j] -> dirty[s] = 1; resetjob(j)
          :: else ->
             if :: MUT == 1 -> events(j); j_st[j] = 4
                :: MUT == 2 -> account(j); j_st[j] = 4
                :: else -> events(j); account(j); if :: MUT == 14 -> dirty[s] = 0 :: else fi; resetjob(j) fi
       fi; j = 0 }
  :: atomic { (MUT == 1 || MUT == 2) && j_st[0] == 4 && j_own[0] == s && mine(s) -> if :: MUT == 1 -> account(0) :: else -> events(0) fi; resetjob(0) }
  :: atomic { mine(s) && qn > 0 && snd[s] == 0 && qs[0] == 0 ->                            /* judge and number the row at the head */
       if :: (other(regg) && !(ex0 && sameb)) -> shift()
          :: GRACE && conn && qk[0] <= DELM && (MUT == 21 -> ackms > 0 : ackms >= qms[0]) && !other(regg) -> shift()
          :: else -> qg[0] = regg;
             if :: MUT == 5 -> qs[0] = nseq + 1                                            /* not stored yet */
                :: MUT == 6 -> memseq[s]++; qs[0] = memseq[s]; if :: memseq[s] > nseq -> nseq = memseq[s] :: else fi
                :: else -> nseq++; qs[0] = nseq fi
       fi }
  :: atomic { mine(s) && qn > 0 && snd[s] == 0 && qs[0] != 0 ->                            /* a try */
       if :: GAPOK < 2 && (other(regg) && !(ex0 && sameb)) -> if :: GAPOK == 1 && qs[0] > maxs -> maxs = qs[0] :: else fi; shift()
          :: else -> if :: GAPOK < 2 -> qg[0] = regg :: else fi;
             if :: taken(); snd[s] = qs[0]
                :: nfail < NFAIL && !final -> nfail++; taken()                             /* the answer is lost */
                :: nfail < NFAIL && !final -> nfail++; if :: qs[0] > maxs -> maxs = qs[0] :: else fi     /* refused */
             fi
       fi }
  :: atomic { mine(s) && snd[s] != 0 ->                                                    /* answered: done */
       if :: qn > 0 && qs[0] == snd[s] -> if :: MUT == 5 -> nseq++ :: else fi; shift() :: else fi; snd[s] = 0 }
  :: atomic { JOIN && mine(s) && qn > 1 && snd[s] == 0 && (qs[0] == 0 || MUT == 8) && qg[0] == regg && qg[1] == regg && gf[regg] != 0 ->
       kk = (MUT != 19 && (qk[0] == SCS || qk[1] == SCS) -> SCS : SYNC);
       shift(); qk[0] = kk; qm[0] = 0; qms[0] = 0; qfc[0] = 0; qi[0] = 0; qs[0] = 0; kk = 0 }
  :: atomic { alive[s] && !final && (ncr < NCR || (S == 2 && alive[S-1-s] && s == 0)) ->   /* a crash; or the old one ends after a reload */
       if :: ncr < NCR -> ncr++ :: S == 2 && alive[S-1-s] && s == 0 -> skip fi;
       alive[s] = 0; dirty[s] = 0; snd[s] = 0; memseq[s] = 0; if :: lock == s + 1 -> lock = 0 :: else fi;
       if :: own_st == 2 -> own_st = 3; own_b = 0 :: else fi;
       if :: MUT == 5 && qn > 0 && qs[0] != 0 -> qs[0] = 0 :: else fi;
       j = 0; do :: j < J -> if :: j_st[j] && j_own[j] == s -> resetjob(j) :: else fi; j++ :: else -> j = 0; break od }
  :: atomic { !alive[s] && (S == 1 || (s == 0 -> !alive[S-1] : !final || !alive[0])) ->    /* start; the second one by a reload */
       alive[s] = 1; memseq[s] = nseq; if :: LOCK == 0 && REGRULE == 0 -> regg = prof :: else fi }
  :: atomic { LOCK && alive[s] && lock == 0 -> lock = s + 1;                               /* take-over */
       if :: MUT == 6 -> skip :: else -> memseq[s] = nseq fi; if :: REGRULE == 0 -> regg = prof :: else fi }
  od
}

proctype Worker() {
  byte j;
  do
  :: atomic { j_st[0] == 1 || (J == 2 && j_st[J-1] == 1) ->
       if :: j_st[0] == 1 -> j = 0 :: J == 2 && j_st[J-1] == 1 -> j = J - 1 fi;
       if :: nerr < NERR && un > b_un[j] && b_g[j] != 0 -> nerr++; j_err[j] = 1 << (un - 1) :: true fi;
       if :: MUT == 11 -> readbase(j) :: else -> readset(j) fi;
       if :: MUT == 9 || MUT == 10 -> j_st[j] = 2
          :: else -> if :: MUT == 11 -> skip :: else -> readnums(j) fi; j_st[j] = 3 fi; j = 0 }
  :: atomic { (MUT == 9 || MUT == 10) && j_st[0] == 2 -> readnums(0); if :: MUT == 10 -> readset(0); j_st[0] = 5 :: else -> j_st[0] = 3 fi }
  :: atomic { MUT == 10 && j_st[0] == 5 -> j_sig[0] = sig; j_st[0] = 3 }
  :: atomic { !final && nwc < NWC && (j_st[0] == 1 || j_st[0] == 3) -> nwc++; if :: MUT == 14 -> skip :: else -> dirty[j_own[0]] = 1 fi; resetjob(0) }
  od
}

proctype Env() {
  byte m;
  do
  :: break
  :: atomic { nev < NEV && un < M -> nev++; m = un;                                        /* delivery */
       if :: st[m] = 1 :: EVF == 1 || NPF > 1 -> st[m] = 2 fi;
       un++; hms++; ms[m] = hms; fc[m] = fc[m] + 1; gid[m] = inc; told[m] = 0; bl[m] = 0;
       must[m] = (gf[okg] != 0 && pass(gf[okg], st[m]) && pass(gf[prof], st[m])); changed(); m = 0 }
  :: atomic { nev < NEV -> if :: m = 0 :: m = 1 fi; if :: isin(st[m]) -> skip :: else -> m = 0; goto no fi;   /* flag change */
       nev++; hms++; ms[m] = hms; fc[m]++; if :: st[m] = 3 - st[m] :: EVF == 1 fi; changed(); m = 0; no: skip }
  :: atomic { nev < NEV -> if :: m = 0 :: m = 1 fi; if :: isin(st[m]) -> skip :: else -> m = 0; goto nx fi;   /* expunge */
       nev++; hms++; ms[m] = 0; fc[m]++; st[m] = 3; if :: nrest -> scsdue = 0 :: else fi; changed(); m = 0; nx: skip }
  :: atomic { nown < NOWN && okg != 0 -> if :: m = 0 :: m = 1 fi;                           /* flag change by the own session */
       if :: isin(st[m]) && pass(gf[prof], st[m]) -> skip :: else -> m = 0; goto ny fi;
       nown++; own_m = m; own_b = ms[m]; hms++; ms[m] = hms; own_a = hms; own_st = 1; told[m] = 1; if :: tfc[m] == 0 -> tfc[m] = 1 :: else fi;   /* it has seen the message */
      
       if :: st[m] = 3 - st[m]; known[m] = pass(gf[prof], st[m]) :: true fi; changed(); m = 0; ny: skip }
  :: atomic { nrest < NREST && un > 1 -> nrest++;                                          /* restore to the first state */
       scsdue = (okg != 0 && a_g != 0 && a_bg == bg[prof] && a_un > 1);
       un = 1; hms = 1; inc++; if :: st[0] != 1 || ms[0] != 1 -> fc[0]++ :: else fi; st[0] = 1; ms[0] = 1;
       m = 1; do :: m < M -> st[m] = 0; ms[m] = 0; fc[m] = 0; gid[m] = 0; told[m] = 0; tfc[m] = 0; bl[m] = 0; m++ :: else -> m = 0; break od; changed() }
  :: atomic { GRACE && !conn && okg != 0 -> conn = 1; ackms = 0; sentms = 0 }
  :: atomic { GRACE && conn && sentms < hms -> sentms = hms }                              /* told inband */
  :: atomic { GRACE && conn && ackms < sentms -> ackms = sentms;                           /* and read */
       m = 0; do :: m < M -> if :: isin(st[m]) && ms[m] <= ackms -> told[m] = 1; tfc[m] = fc[m]; known[m] = pass(gf[prof], st[m]) :: else fi; m++ :: else -> m = 0; break od }
  :: atomic { GRACE && conn -> conn = 0; ackms = 0; sentms = 0 }
  od;
  envdone = 1
}

#define up         ((alive[0] && (LOCK == 0 || lock == 1)) || (S == 2 && alive[S-1] && (LOCK == 0 || lock == S)))
inline begin(f) {        /* a new generation; its baseline if it begins to notify */
  gf[npf] = f;
  if :: f != 0 && (prof == 0 || gf[prof] == 0) -> bg[npf] = npf;
        i = 0; do :: i < M -> bl[i] = isin(st[i]); known[i] = (isin(st[i]) && pass(f, st[i])); tfc[i] = fc[i]; i++ :: else -> i = 0; break od;
        if :: BASE == 0 && up -> baseline_now(npf)
           :: BASE == 1 -> pbu[npf] = un; pbm[npf] = hms;
              i = 0; do :: i < M -> if :: EVF == 1 && pass(f, st[i]) -> pbp[npf] = pbp[npf] | (1 << i) :: else fi;
                    if :: isin(st[i]) -> pbx[npf] = pbx[npf] | (1 << i); pbg[npf * M + i] = gid[i] :: else fi; i++ :: else -> i = 0; break od
           :: else fi
     :: else -> bg[npf] = bg[prof] fi
}
proctype Pref() {
  do
  :: npf > 0 -> break
  :: atomic { npf < NPF -> npf++;
       if :: npf == 1 || gf[npf-1] != 1 -> begin(1) :: NPF > 1 && (npf == 1 || gf[npf-1] != 2) -> begin(2) :: npf > 1 && gf[npf-1] != 0 -> begin(0) fi };
     atomic { prof = npf; upd() };                                                         /* the profile is durable */
     atomic { if :: REGRULE == 0 && up -> regg = prof :: REGRULE == 0 && !up -> skip :: REGRULE == 1 -> reghint = 1 fi };
     okg = prof;                                                                           /* OK */
     if :: BASE == 2 -> atomic { if :: up && gf[prof] != 0 && bg[prof] == prof -> baseline_now(prof) :: else fi } :: else fi
  od;
  prefdone = 1
}

init {
  atomic { st[0] = 1; ms[0] = 1; fc[0] = 1; un = 1; hms = 1; sig = 1; alive[0] = !DOWN; if :: LOCK && !DOWN -> lock = 1 :: else fi; run Worker(); run Env(); run Pref(); run Svc(0); if :: S == 2 -> run Svc(S-1) :: else fi }
  atomic { envdone && prefdone && up -> final = 1 };
  timeout;                                                                                 /* quiet */
  atomic {
    assert(qn == 0); i = 0;
    do :: i < M ->
          assert(!must[i] || told[i]);                                                     /* P1 */
          if :: EVF == 1 && NPF == 1 ->
                assert((nown && own_m == i) || known[i] == (isin(st[i]) && pass(gf[okg], st[i])));                 /* P1 for ALL */
                assert(!(isin(st[i]) && pass(gf[okg], st[i])) || tfc[i] == fc[i])
             :: else fi; i++
       :: else -> i = 0; break od;
    assert(!(scsdue && gf[okg] != 0 && NPF == 1) || scs == 1)                              /* P4 */
  }
}

#else
/* ---------------------------------------------------------------- UDP (R-13.6), -DUDP
 * N numbered notifications; datagrams and acknowledgements are lost, doubled, reordered; tries are repeated. */
#ifndef N
#define N 3
#endif
#ifndef ACK
#define ACK 0            /* ACK=<seq> means: 0 just that one; 1 that one and all below; 2 all below, and the device */
#endif                   /* names the highest below which it has all; 3 a login acknowledges all that was sent      */
#ifndef WINDOW
#define WINDOW 3         /* how many may be unacknowledged at once                                     */
#endif
#ifndef GAP
#define GAP 0            /* 1: number 2 was numbered and then dropped (filter changed): it never comes  */
#endif
byte fly, acks, have, done, sent; bool login;
proctype Sender() { byte n;
  do
  :: atomic { n = 0; do :: n < N - 1 -> n++ :: break od;                        /* a try of one that is not done, within the window */
       if :: !bit(done, n) && !(GAP && n == 1) && ((n < WINDOW) || bit(done, n - WINDOW) || (GAP && n - WINDOW == 1)) -> fly = fly | (1 << n); sent = sent | (1 << n) :: else fi; n = 0 }
  :: atomic { acks != 0 -> n = 0; do :: n < N - 1 -> n++ :: break od;            /* an acknowledgement arrives, in any order */
       if :: bit(acks, n) -> acks = acks & ~(1 << n);
             if :: ACK == 0 || ACK == 3 -> done = done | (1 << n)
                :: else -> done = done | ((2 << n) - 1) fi
          :: else fi; n = 0 }
  :: atomic { ACK == 3 && !login -> login = 1; done = done | sent }              /* the device logs in for another reason */
  :: done == (1 << N) - 1 || (GAP && (done | 2) == (1 << N) - 1) -> break
  od
}
proctype Device() { byte n, h;
  do
  :: atomic { fly != 0 -> n = 0; do :: n < N - 1 -> n++ :: break od;
       if :: bit(fly, n) -> fly = fly & ~(1 << n); have = have | (1 << n);
             if :: ACK == 2 -> h = 0; do :: h < N && bit(have, h) -> h++ :: else -> break od;
                   if :: h > 0 -> acks = acks | (1 << (h - 1)) :: else fi
                :: else -> acks = acks | (1 << n) fi
          :: else fi; n = 0; h = 0 }
  :: atomic { fly != 0 -> n = 0; do :: n < N - 1 -> n++ :: break od; fly = fly & ~(1 << n); n = 0 }     /* lost */
  :: atomic { acks != 0 -> n = 0; do :: n < N - 1 -> n++ :: break od; acks = acks & ~(1 << n); n = 0 }
  od
}
init {
  atomic { run Sender(); run Device() }
  /* what counts as done was received */
  do :: atomic { (done & ~have) & ~(GAP << 1) -> assert(false) }
     :: atomic { GAP && ACK == 2 && have == 5 && !bit(done, 2) && !bit(acks, 0) && fly == 0 -> assert(false) }   /* 1 and 3 are there, 3 is never acknowledged */
  od
}
#endif
