// SPDX-License-Identifier: LGPL-2.1-only
// The broker ActiveMQ, or a JMS consumer of what comes to it, for activemq.py:
//   broker STOMP-PORT SSL-PORT OPENWIRE-PORT FOLDER   it says "ready"
//   reader OPENWIRE-PORT                              a line for each message
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.broker.BrokerFactory;
import org.apache.activemq.broker.BrokerPlugin;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.security.AuthenticationUser;
import org.apache.activemq.security.AuthorizationEntry;
import org.apache.activemq.security.AuthorizationPlugin;
import org.apache.activemq.security.DefaultAuthorizationMap;
import org.apache.activemq.security.SimpleAuthenticationPlugin;

class ActiveMQ {
    static AuthorizationEntry entry(boolean topic, String name, String groups) throws Exception {
        AuthorizationEntry entry = new AuthorizationEntry();
        if (topic)
            entry.setTopic(name);
        else
            entry.setQueue(name);
        entry.setRead(groups);
        entry.setWrite(groups);
        entry.setAdmin(groups);
        return entry;
    }

    static void broker(String[] args) throws Exception {
        BrokerService broker = BrokerFactory.createBroker("broker:(stomp://127.0.0.1:" + args[1] +
            ",tcp://127.0.0.1:" + args[3] + ")?persistent=true&useJmx=false&dataDirectory=" + args[4]);
        if (System.getProperty("javax.net.ssl.keyStore") != null)
            broker.addConnector("stomp+ssl://127.0.0.1:" + args[2]);
        broker.getSystemUsage().getStoreUsage().setLimit(64 << 20);
        SimpleAuthenticationPlugin users = new SimpleAuthenticationPlugin(Arrays.asList(
            new AuthenticationUser("dovecot", "se:cr\\et", "senders"),
            new AuthenticationUser("reader", "reader", "readers")));
        // pimap.a.b is forbidden
        DefaultAuthorizationMap map = new DefaultAuthorizationMap(List.of(
            entry(false, "pimap.*", "senders"), entry(false, ">", "readers"),
            entry(true, "pimap.*", "senders"), entry(true, ">", "readers"),
            entry(true, "ActiveMQ.Advisory.>", "senders")));
        broker.setPlugins(new BrokerPlugin[] { users, new AuthorizationPlugin(map) });
        broker.start();
        System.out.println("ready");
        broker.waitUntilStopped();
    }

    static void reader(String[] args) throws Exception {
        Connection connection = new ActiveMQConnectionFactory("reader", "reader",
            "failover:(tcp://127.0.0.1:" + args[1] + ")?maxReconnectDelay=200").createConnection();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageConsumer[] consumers = {
            session.createConsumer(session.createQueue("pimap.>")),
            session.createConsumer(session.createTopic("pimap.>"))};
        for (MessageConsumer consumer : consumers)
            consumer.setMessageListener(message -> print(message));
        connection.start();
        System.out.println("ready");
        Thread.currentThread().join();
    }

    static synchronized void print(Message message) {
        try {
            String text = message instanceof TextMessage ? ((TextMessage)message).getText() : null;
            System.out.println("message " +
                ((ActiveMQDestination)message.getJMSDestination()).getQualifiedName() + " " +
                (message.getJMSDeliveryMode() == DeliveryMode.PERSISTENT) + " " +
                message.getStringProperty("pimap_seq") + " " +
                message.getStringProperty("content-type") + " " +
                (text == null ? message.getClass().getName() :
                 "=" + Base64.getEncoder().encodeToString(text.getBytes("UTF-8"))));
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("broker"))
            broker(args);
        else
            reader(args);
    }
}
