/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_LOOK_H
#define PIMAP_LOOK_H

#include "guid.h"

/* How notifications come about: they are differences between what
   a device was told of a folder, its accounted state, and what is there now.

     a mail process   -- hint -->  pimap-outband  -- job -->  pimap-worker
     after a commit                registry, accounted          opens the folder,
                                   states, queue, channels  <-- answer -- compares

   Lines as in all of Dovecot's own protocols: fields separated by TAB, escaped, a
   VERSION line first from both sides.

   A hint says that something may have changed. It causes a look and nothing else,
   so that whoever may connect can send it; it gets no answer and may be lost:

     HINT    <user> <folder GUID> [<note>]
                                       mail came into that folder, has changed
                                       there or has gone
     PROFILE <user>                    his profile has changed: what is queued isn't
                                       sent before a worker has said what it is now
     PROFILE <user> WAIT               likewise, and is answered by OK when this holds:
                                       nothing goes out any more that wasn't judged
                                       by this profile or a later one

   A note says what one session did, so that its device isn't told. It may be
   believed of root and of who is the user in his system.

     <device>:<UIDVALIDITY>:<start>:<end>:<changed>:<saved>:<expunged>
                                       UIDs and ranges of them, separated by commas;
                                       all that has modseqs above start, up to end,
                                       is that session's doing. No device: what
                                       was saved was imported.

   Jobs, which the service sends to a worker, one at a time. Each is answered by
   lines, of which the last is OK, GONE (no such user or folder any more) or FAIL and
   a reason, which the worker has logged.

     USER    <user>
        UID     <uid>                  of the user's processes
     FOLDERS <user>
        SEEN   <seen>                  of the profile
        FOLDER <folder GUID> <name>    for each that notifies some device
     LOOK    <user> <folder GUID> [<device> <state>]...
        the states that are accounted for, none for a device not known yet;
        for "=note" instead of a device: the number of who says so in the system, a
        colon and a note
        FOLDER  <folder GUID> <name>
        SEEN    <seen>
        DEVICE  <device> <generation> <channel> <address> <format> <state>
                [<UIDVALIDITY> <start> <end>]
                                       for each device that the folder notifies, with
                                       its new state; what its events are about has
                                       modseqs above start, up to end
        EVENT   <event> <UID> <time> [<sender> <subject> <body> [<name>]]
                                       of the device above, in the order in which they
                                       are to be told; R-13.2's name, INTERNALDATE or
                                       the time of the event in seconds since 1970;
                                       what the format EXTENDED tells, "" = nothing

     JUDGE   <user> <folder GUID> <device> [<generation> <event> <UID> <time>]...
        what is queued for the device, with the generation of the profile that it
        was judged by (negative: and by other filters of the site); no GUID: of no
        folder, or of several
        JUDGED  <generation> [<channel> <address> <format> <verdicts>]
                                       the profile's; the device as it is now, if it
                                       is told of the folder; of each a digit: 1 it
                                       passes, 0 it doesn't any more, 2 that can't be
                                       known now

     SCAN <seen>...
        CHANGED <number>               for each, counted from 0, of which another
                                       look wouldn't see the same

   What is seen is text that only the worker understands, too: it tells where
   changes that no hint has told can be seen, and how it was there before the
   look. It doesn't say that nothing has changed since it was asked for.

   The list of the user's folders is looked at as a folder is, under a GUID that none
   has (pimap_notify_list_guid): its events have the name of the folder that they are
   about in a seventh field.

   Before a job the service says what it knows of a folder in which workers have died,
   so that a message that kills them costs its own evaluation only. It gets no answer.

     CAUTION <UIDs> <0 or 1>
        these messages, separated by commas, aren't evaluated: devices are told SYNC
        of them, what is queued isn't known. 1: the worker evaluates one by one, and
        its answer begins with
        AT      <UID>                  at once, before it evaluates that

   A state is text that only the worker understands. What a look has found is valid
   only as long as the accounted states are those that it was asked with: both the
   events and the new states are committed in one transaction, or neither. A device
   that the answer doesn't name isn't notified of that folder any more. */

#define PIMAP_HINT_SOCKET "pimap-outband"
#define PIMAP_HINT_PROTOCOL "pimap-hint"
#define PIMAP_HINT_MAJOR 1
#define PIMAP_HINT_MINOR 0
#define PIMAP_HINT_WAIT "WAIT"

#define PIMAP_WORKER_SOCKET "pimap-worker"
#define PIMAP_WORKER_PROTOCOL "pimap-worker"
#define PIMAP_WORKER_MAJOR 1
#define PIMAP_WORKER_MINOR 0

/* pimap_notify_list_guid */
#define PIMAP_LOOK_LIST_GUID "00000000000000000000000000000001"

#define PIMAP_LOOK_NOTE "=note"
#define PIMAP_NOTE_MAX_SIZE 4000

/* Longer lines end the connection. */
#define PIMAP_LOOK_MAX_LINE (1024*1024)
/* A look that finds more events of one device than these gives one SYNC in their
   place. */
#define PIMAP_LOOK_MAX_EVENTS 1000
/* Notifications in one JUDGE */
#define PIMAP_LOOK_MAX_JUDGED 100

#endif
