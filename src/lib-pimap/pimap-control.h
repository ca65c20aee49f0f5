/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_CONTROL_H
#define PIMAP_CONTROL_H

/* What an administrator's programs, doveadm pimap outband among them, ask of the
   service pimap-outband. It reveals what is queued, and changes it: unlike the socket
   for hints (pimap-look.h) this one is root's and the service's own user's.

   Lines as in all of Dovecot's own protocols: fields separated by TAB, escaped, a
   VERSION line first from both sides. Requests come one at a time. Each is answered
   by lines of which the last is

     OK [<number>]       done, with so many notifications, or folders
     MORE <id>           there may be more: ask again, from there
     NOTFOUND <reason>   there is nothing that the request could be about
     BUSY <reason>       the service has only begun, or can't read its database
     FAIL <reason>

   A <user> is one user; a <mask> may have * and ?, in either case. "" is all of them.

     STATUS
        STATUS <name> <value>    what there is and what was done; names may be added
        TIME   <name> <time>     likewise, seconds since 1970, 0 = none
     LIST <id> <mask> <device>
        those queued after that one (0: the first), oldest first, by and by
        ROW <id> <user> <device> <event> <folder> <UID> <number> <tries> <next try>
            <last error> <created> <channel> <address>
                                 UID and number 0: none; next try 0: at once
     RETRY <id> <user> <device>
        they don't wait any more for their next try (id 0: all)
     DROP <id> <user> <device>
        forgets them: an id or a device, not all; what is being sent at that moment
        may still arrive
     SCAN <user>
        the user's folders are to be looked at, or all that are accounted for
     PAUSE [<channel>]
     RESUME [<channel>]
        the channel, or all that are configured, also after a restart; what is being
        sent goes on
     TEST <user> <device>
        queues a SYNC behind what the device has, sends it, and answers when that
        has been tried; it is a notification like others, tried on and expiring
        QUEUED <id>
        RESULT <result> <number> <error>
                                 sent, retry, given up, unregistered (or
                                 dropped: it was so before),
                                 expired; waiting: it
                                 can't be tried now, or has not been after
                                 PIMAP_CONTROL_TEST_SECS
     TRACE <position> <id> <user> <device> <number>
        what was done with a notification, or with the device's last ones, or the one
        with that number (0: not asked for), also if it is finished; position is that
        of the last MORE, or 0.0
        STEP <id> <user> <device> <number> <time> <step> <text>
                                 step: found, queued, held, released, numbered,
                                 tried, retry, done; names may be added
     DEVICE <user> <device>
        ENDED <time> <reason>    if its address isn't tried any more, since when and why
     KEY <user> <device>
        KEY <number> <base64>    the device's, which has one from now on
     REKEY <user> <device>
        it has a new one, and is told NEW_ENC_KEY
     LOCK <user> <device>
     UNLOCK <user> <device>
        from now on it may (not) log in; it is told LOCK_DOWN or FULL_SYNC. The
        number of OK is 0 for these three if it isn't notified of anything */

#define PIMAP_CONTROL_SOCKET "pimap-outband-control"
#define PIMAP_CONTROL_PROTOCOL "pimap-control"
#define PIMAP_CONTROL_MAJOR 1
#define PIMAP_CONTROL_MINOR 0

/* Longer requests end the connection. */
#define PIMAP_CONTROL_MAX_REQUEST 4096
/* No answer of the service is longer, all of its lines together. */
#define PIMAP_CONTROL_MAX_ANSWER (1024*1024)

#define PIMAP_CONTROL_TEST_SECS 90

#endif
