/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_IDLE_H
#define PIMAP_IDLE_H

/* How a device's session in IDLE tells the service pimap-outband what its client has
   read, so that it isn't notified of that, too. The session keeps the
   connection. Whoever may connect may say so, but only root, the service's own user, and
   the uid that the userdb gives for that user are believed. Lines as in all of Dovecot's
   own protocols, a VERSION line first from both sides. The session says

     DEVICE <user> <device>   who it is, once
     IDLE   <folder GUID>     it is in IDLE there from now on
     DONE                     not any more
     ASLEEP                   it goes on in imap-hibernate, and comes back when the
                              folder changes; the connection ends
     READ   <id>              its client has read that
     UNREAD <id>              not by now: the answer to ASK
     NEVER  <id>              it won't be known any more; it isn't asked again

   and is told

     WAIT   <id> <folder GUID> <UIDVALIDITY> <start> <end> <event> <UID>
                              has its client read this event? What it is about has a
                              modseq above start, up to end. READ comes as soon as
                              that is known by, NEVER if that can't be
     ASK    <id>              is it read by now, also by TCP?
     FORGET <id>              it isn't waited for any more

   A session that isn't there says nothing, and nothing is taken for read. */

#define PIMAP_IDLE_SOCKET "pimap-outband-idle"
#define PIMAP_IDLE_PROTOCOL "pimap-idle"
#define PIMAP_IDLE_MAJOR 1
#define PIMAP_IDLE_MINOR 0

/* so long a session may wait for TCP before it answers ASK */
#define PIMAP_IDLE_ANSWER_MSECS 3000

#endif
