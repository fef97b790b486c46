-- Who signs up has a name in the cache at once, not at the next refresh: Aurora calls the function that writes it.
-- A sign-up does not fail where the call does: @sign_up_error says why, to whoever inserted, and the refresh finds the
-- customer. So it does when the function was there first, for the row is seen only once it is committed.
CREATE TRIGGER customer_signs_up AFTER INSERT ON customers
FOR EACH ROW
BEGIN
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION GET DIAGNOSTICS CONDITION 1 @sign_up_error = MESSAGE_TEXT;
    SET @sign_up_error = NULL;
    SELECT lambda_async(%(function)s, JSON_OBJECT('user_id', CAST(NEW.customer_id AS CHAR))) INTO @called;
END
